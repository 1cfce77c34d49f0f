"""What the ``cobre`` command says about cases and results, as plain text."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, cast

import cobre
from cobre._text import format_duration, format_money, format_number, format_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cobre.tables import Cell, Table

__all__ = ["case_line", "case_summary", "demo_report", "facts_table", "interrupted_training"]


def case_line(case: cobre.Case) -> str:
    """Say in one line what a case is."""
    sizes = case.summary
    parts = [
        f"{sizes[name]} {name}"
        for name in ("stages", "openings", "hydros", "thermals", "buses")
        if name in sizes
    ]
    return f"{case.name}: {', '.join(parts)}"


def case_summary(case: cobre.Case) -> str:
    """Say what a valid case holds."""
    sizes = format_table(["", "count"], list(case.summary.items()))
    return f"{case.name}: valid\n\n{sizes}"


def facts_table(result: cobre.TrainingResult | cobre.SimulationResult) -> str:
    """List the figures of a result."""
    facts = result._facts()  # noqa: SLF001 - the same facts as in notebooks
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in facts)


def interrupted_training(case: Path, output: Path) -> str:
    """Say what an interrupted training leaves, and how to go on."""
    try:
        policy = cobre.Policy.load(output / "policy")
    except cobre.IOError:
        return "interrupted before the first iteration was complete: there is no policy"
    if policy.iterations == 0:
        return "interrupted before the first iteration was complete: the policy holds no cuts yet"
    return (
        f"interrupted: the policy of {policy.iterations} complete iterations is in {output / 'policy'} "
        f"(lower bound {format_money(policy.lower_bound)})\n"
        "to go on: the same command with --resume\n"
        f"to simulate it: cobre simulate {case} --policy {output / 'policy'}"
    )


def demo_report(case: cobre.Case, result: cobre.TrainingResult, simulation: cobre.SimulationResult) -> str:
    """Say how a training and a simulation went: bounds, gap, storage and marginal costs."""
    gap = (simulation.mean_cost - result.final_lower_bound) / max(1.0, abs(simulation.mean_cost))
    half_width = simulation.half_width or 0.0
    facts = [
        ("certified lower bound", format_money(result.final_lower_bound)),
        ("simulated mean cost", f"{format_money(simulation.mean_cost)} ± {format_number(half_width)} (95 %)"),
        (
            "gap of the two",
            f"{100.0 * gap:.2f} % ± {100.0 * half_width / max(1.0, abs(simulation.mean_cost)):.2f} %",
        ),
        ("iterations", f"{result.iterations}, ended by {result.termination_reason}"),
        ("cuts", format_number(result.total_cuts)),
        ("training time", format_duration(result.elapsed_secs)),
    ]
    width = max(len(name) for name, _ in facts)
    lines = "\n".join(f"{name.ljust(width)}  {value}" for name, value in facts)
    hydros, buses = _names(case, "hydros", "hydro_id"), _names(case, "buses", "bus_id")
    storage = _stage_table(simulation.table("hydros"), "hydro_id", "storage_final_hm3", hydros)
    prices = _stage_table(simulation.table("buses"), "bus_id", "marginal_cost_per_mwh", buses)
    return (
        f"\n{lines}\n"
        f"\nMean storage at the end of each stage [hm³], {simulation.scenarios} scenarios\n{storage}\n"
        f"\nMean marginal cost of energy [$/MWh]\n{prices}"
    )


def _names(case: cobre.Case, table: str, entity: str) -> dict[Cell, str]:
    """Name of each entity by its id."""
    columns = case.tables[table]
    return dict(zip(columns.column(entity), (str(name) for name in columns.column("name")), strict=True))


def _stage_table(table: Table, entity: str, figure: str, names: Mapping[Cell, str]) -> str:
    """Mean of a figure over scenarios (and blocks): a row per stage, a column per entity."""
    values: dict[tuple[Cell, Cell], list[float]] = {}
    for stage, who, value in zip(*(table.column(name) for name in ("stage_id", entity, figure)), strict=True):
        values.setdefault((stage, who), []).append(cast("float", value))
    means = {place: fmean(found) for place, found in values.items()}
    stages = sorted({cast("int", stage) for stage, _ in means})
    body = [[stage, *(means.get((stage, who)) for who in names)] for stage in stages]
    return format_table(["stage", *names.values()], body)
