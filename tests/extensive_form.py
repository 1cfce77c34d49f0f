"""The deterministic equivalent of a small case, built from its files and solved by HiGHS.

A second reading of the case format that shares no code with Cobre. It knows one block per stage and
reservoirs without cascades and lower limits, and refuses anything else.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import highspy
import numpy as np
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

INFINITY = highspy.kHighsInf


@dataclass
class Program:
    """A linear program under construction, row by row."""

    cost: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    rows: list[tuple[dict[int, float], float]] = field(default_factory=list)

    def column(self, cost: float, upper: float = INFINITY, lower: float = 0.0) -> int:
        """Add a variable."""
        self.cost.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        return len(self.cost) - 1

    def equal(self, terms: dict[int, float], right: float) -> None:
        """Add an equation."""
        self.rows.append((terms, right))

    def solve(self) -> float:
        """Return the optimal cost."""
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.cost), len(self.rows)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = (
            np.array(values) for values in (self.cost, self.lower, self.upper)
        )
        right = np.array([value for _, value in self.rows])
        lp.row_lower_, lp.row_upper_ = right, right
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.cumsum([0, *(len(terms) for terms, _ in self.rows)])
        lp.a_matrix_.index_ = np.array([index for terms, _ in self.rows for index in terms])
        lp.a_matrix_.value_ = np.array([value for terms, _ in self.rows for value in terms.values()])
        solver = highspy.Highs()
        solver.silent()
        for option in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            solver.setOptionValue(option, 1e-9)
        solver.passModel(lp)
        solver.run()
        assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        return float(solver.getObjectiveValue())


@dataclass(frozen=True)
class System:
    """What the files of a case say."""

    stages: list[dict[str, Any]]
    rate: float
    hydros: list[dict[str, Any]]
    thermals: list[dict[str, Any]]
    buses: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    penalties: dict[str, Any]
    storage: dict[int, float]
    load: dict[tuple[int, int], float]
    inflow: dict[tuple[int, int], list[float]]  # by stage and opening, in the order of the hydros
    limits: dict[tuple[int, int], float]  # of thermals, by id and stage


def read(case: Path) -> System:
    """Read a case."""

    def document(name: str) -> Any:  # noqa: ANN401 - JSON
        return json.loads((case / name).read_text())

    def rows(name: str) -> list[dict[str, Any]]:
        file = case / name
        records: list[dict[str, Any]] = pq.read_table(file).to_pylist() if file.exists() else []
        return records

    hydros = sorted(document("system/hydros.json")["hydros"], key=lambda hydro: hydro["id"])
    for hydro in hydros:
        generation = hydro["generation"]
        assert hydro.get("downstream_id") is None
        assert generation["model"] == "constant_productivity"
        assert hydro["outflow"].get("max_outflow_m3s") is None
        lowest = (hydro["outflow"]["min_outflow_m3s"], generation["min_turbined_m3s"])
        assert lowest == (0.0, 0.0)
    moments = {
        (row["stage_id"], row["hydro_id"]): (row["mean_m3s"], row["std_m3s"])
        for row in rows("scenarios/inflow_seasonal_stats.parquet")
    }
    inflow: dict[tuple[int, int], list[float]] = {}
    for row in rows("scenarios/noise_openings.parquet"):
        mean, std = moments[row["stage_id"], hydros[row["entity_index"]]["id"]]
        sample = inflow.setdefault((row["stage_id"], row["opening_index"]), [0.0] * len(hydros))
        sample[row["entity_index"]] = mean + std * row["value"]
    graph = document("stages.json")
    return System(
        stages=graph["stages"],
        rate=graph["policy_graph"]["annual_discount_rate"],
        hydros=hydros,
        thermals=document("system/thermals.json")["thermals"],
        buses=document("system/buses.json")["buses"],
        lines=document("system/lines.json")["lines"],
        penalties=document("penalties.json"),
        storage={row["hydro_id"]: row["value_hm3"] for row in document("initial_conditions.json")["storage"]},
        load={
            (row["bus_id"], row["stage_id"]): row["mean_mw"]
            for row in rows("scenarios/load_seasonal_stats.parquet")
        },
        inflow=inflow,
        limits={
            (row["thermal_id"], row["stage_id"]): row["max_generation_mw"]
            for row in rows("constraints/thermal_bounds.parquet")
        },
    )


def optimum(case: Path) -> float:
    """Return the exact expected cost of a case, in $."""
    system, program = read(case), Program()
    # Each history of openings has its own decisions; the empty one has the initial storage.
    ends: dict[tuple[int, ...], list[int]] = {}
    discount, probability = 1.0, 1.0
    for stage, entry in enumerate(system.stages):
        openings = range(entry["num_scenarios"])
        probability /= len(openings)
        branches = [range(earlier["num_scenarios"]) for earlier in system.stages[:stage]]
        for history in itertools.product(*branches):
            for opening in openings:
                weight = probability * discount
                before = ends.get(history)
                sample = system.inflow[stage, opening]
                ends[*history, opening] = add_stage(program, system, stage, (weight, before, sample))
        days = dt.date.fromisoformat(entry["end_date"]) - dt.date.fromisoformat(entry["start_date"])
        discount *= (1.0 + system.rate) ** (-days.days / 365.25)
    return program.solve()


def add_stage(
    program: Program, system: System, stage: int, node: tuple[float, list[int] | None, list[float]]
) -> list[int]:
    """Add one stage of one history, and return the columns of its final storages."""
    weight, before, sample = node
    (block,) = system.stages[stage]["blocks"]
    kappa, price = block["hours"] * 3600.0 / 1e6, block["hours"] * weight
    balance: dict[int, dict[int, float]] = {bus["id"]: {} for bus in system.buses}
    storages = []
    for position, hydro in enumerate(system.hydros):
        generation = hydro["generation"]
        productivity = generation["productivity_mw_per_m3s"]
        most = min(generation["max_turbined_m3s"], generation["max_generation_mw"] / productivity)
        turbined = program.column(0.0, most)
        spilled = program.column(price * system.penalties["hydro"]["spillage_cost"])
        reservoir = hydro["reservoir"]
        storage = program.column(0.0, reservoir["max_storage_hm3"], reservoir["min_storage_hm3"])
        water = {storage: 1.0, turbined: kappa, spilled: kappa}
        right = kappa * sample[position]
        if before is None:
            right += system.storage[hydro["id"]]
        else:
            water[before[position]] = -1.0
        program.equal(water, right)
        balance[hydro["bus_id"]][turbined] = productivity
        storages.append(storage)
    for thermal in system.thermals:
        limits = thermal["generation"]
        most = system.limits.get((thermal["id"], stage), limits["max_mw"])
        power = program.column(price * thermal["cost_per_mwh"], most, limits["min_mw"])
        balance[thermal["bus_id"]][power] = 1.0
    for line in system.lines:
        ends, capacity = (line["source_bus_id"], line["target_bus_id"]), line["capacity"]
        cost = price * line.get("exchange_cost", system.penalties["line"]["exchange_cost"])
        for (source, target), most in zip(
            (ends, ends[::-1]), (capacity["direct_mw"], capacity["reverse_mw"]), strict=True
        ):
            flow = program.column(cost, most)
            balance[source][flow], balance[target][flow] = -1.0, 1.0
    for bus in system.buses:
        terms = balance[bus["id"]]
        terms[program.column(price * system.penalties["bus"]["excess_cost"])] = -1.0
        for segment in bus.get("deficit_segments", system.penalties["bus"]["deficit_segments"]):
            depth = INFINITY if segment["depth_mw"] is None else segment["depth_mw"]
            terms[program.column(price * segment["cost"], depth)] = 1.0
        program.equal(terms, system.load[bus["id"], stage])
    return storages
