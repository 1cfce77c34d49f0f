"""Write the four-region Brazilian system as a case directory.

    python make_four_reservoirs.py FIGURES four_reservoirs --stages 12 --openings 20

FIGURES is the folder of the published CSV files; four_reservoirs/README.md says what they hold and how each
becomes part of the case.
"""

import argparse
import csv
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

REGIONS = ("SUDESTE", "SUL", "NORDESTE", "NORTE")
BUSES = (*REGIONS, "TRANSSHIPMENT")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
PUBLISHED_FIRST_INFLOW = (39717.564, 6632.5141, 15897.183, 2525.2938)

# Reservoirs hold energy (MW x month). A block of this length makes one m3/s worth exactly one hm3, so that no
# figure needs a conversion.
HOURS = 1e6 / 3600
FIRST_DAY = dt.date(2014, 1, 1)
DAYS_PER_STAGE = 30
ANNUAL_DISCOUNT_RATE = 0.9906 ** (-365.25 / DAYS_PER_STAGE) - 1  # A discount of 0.9906 from stage to stage.
SPILLAGE_COST = 0.001
BUS_DEFICIT_COST = 1e5  # Never paid: the deficit tiers, which are thermals here, cover the whole demand.
BUS_EXCESS_COST = 1000.0
VIOLATION_COST = 1e6  # Never paid either: the case has no soft limits, but the format asks for their prices.


@dataclass(frozen=True)
class Plant:
    """A thermal plant, or a deficit tier: power in MW, cost in $/MWh."""

    region: int
    name: str
    min_mw: float
    max_mw: float
    cost: float


@dataclass(frozen=True)
class Figures:
    """The published figures; rows of the tables are months, rows and columns of the matrices are buses."""

    demand: list[list[float]]
    exchange: list[list[float]]
    exchange_cost: list[list[float]]
    tiers: list[tuple[float, float]]  # share of demand, cost in $/MWh
    plants: list[Plant]
    storage_max: list[float]
    storage_initial: list[float]
    hydro_max: list[float]
    first_inflow: list[float]
    history: list[list[list[float]]]  # [year][month][region], complete years only


def read_rows(path: Path, delimiter: str = ",") -> list[list[str]]:
    """Read a CSV file below its header; some of the published files begin with a byte order mark."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file, delimiter=delimiter) if row][1:]


def read_matrix(path: Path) -> list[list[float]]:
    """Read a table of numbers whose first column is a label."""
    return [[float(cell) for cell in row[1:]] for row in read_rows(path)]


def read_history(folder: Path) -> list[list[list[float]]]:
    """Read the years that every region has in full (1983 is missing in three of four)."""
    by_region: list[dict[str, list[float]]] = []
    for region in range(len(REGIONS)):
        rows = read_rows(folder / f"hist_{region}.csv", delimiter=";")
        by_region.append(
            {year: [float(cell) for cell in cells] for year, *cells in rows if "NA" not in cells}
        )
    years = sorted(set.intersection(*(set(inflows) for inflows in by_region)))
    months = range(len(MONTHS))
    return [[[inflows[year][month] for inflows in by_region] for month in months] for year in years]


def read_figures(folder: Path) -> Figures:
    """Read everything the case is made of."""
    hydro = {name: (float(upper), float(initial)) for name, upper, initial in read_rows(folder / "hydro.csv")}
    plants = [
        Plant(region, f"{name}_THERMAL_{int(index):02d}", float(lower), float(upper), float(cost))
        for region, name in enumerate(REGIONS)
        for index, lower, upper, cost in read_rows(folder / f"thermal_{region}.csv")
    ]
    numbers = range(len(REGIONS))
    return Figures(
        demand=read_matrix(folder / "demand.csv"),
        exchange=read_matrix(folder / "exchange.csv"),
        exchange_cost=read_matrix(folder / "exchange_cost.csv"),
        tiers=[(share, cost) for cost, share in read_matrix(folder / "deficit.csv")],
        plants=plants,
        storage_max=[hydro[f"StoredEnergy_{region}"][0] for region in numbers],
        storage_initial=[hydro[f"StoredEnergy_{region}"][1] for region in numbers],
        hydro_max=[hydro[f"hydro_{region}"][0] for region in numbers],
        first_inflow=[hydro[f"inflow_{region}"][1] for region in numbers],
        history=read_history(folder),
    )


def evenly_spaced(count: int, available: int) -> list[int]:
    """Pick `count` of `available` positions, each in the middle of its share."""
    return [(2 * k + 1) * available // (2 * count) for k in range(count)]


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write one JSON file, indented."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_parquet(path: Path, columns: str, rows: Sequence[tuple[float, ...]]) -> None:
    """Write one table, compressed with zstd; the names of the columns tell their types."""
    path.parent.mkdir(parents=True, exist_ok=True)
    integers = {"id": pa.int32(), "index": pa.uint32()}
    table = {}
    for name, values in zip(columns.split(), zip(*rows, strict=True), strict=True):
        table[name] = pa.array(values, integers.get(name.rpartition("_")[2], pa.float64()))
    pq.write_table(pa.table(table), path, compression="zstd")


def config() -> dict[str, object]:
    """Train until ten iterations of four paths raise the bound by less than 0.5 %."""
    rules: list[dict[str, object]] = [
        {"type": "iteration_limit", "limit": 100},
        {"type": "bound_stalling", "iterations": 10, "tolerance": 5e-3},
    ]
    return {
        "training": {"forward_passes": 4, "stopping_rules": rules},
        "simulation": {"enabled": True, "num_scenarios": 200},
        "modeling": {"inflow_non_negativity": {"method": "none"}},
    }


def penalties() -> dict[str, object]:
    """Price what is outside the merit order; of all this only spillage is ever paid."""
    violations = (
        "storage_violation_below filling_target_violation turbined_violation_below outflow_violation_below"
        " outflow_violation_above generation_violation_below evaporation_violation water_withdrawal_violation"
    )
    prices = {f"{name}_cost": VIOLATION_COST for name in violations.split()}
    deficit = {"depth_mw": None, "cost": BUS_DEFICIT_COST}
    small = {"spillage_cost": SPILLAGE_COST, "fpha_turbined_cost": 0.002, "diversion_cost": 0.002}
    return {
        "bus": {"deficit_segments": [deficit], "excess_cost": BUS_EXCESS_COST},
        "line": {"exchange_cost": 0.001},
        "hydro": small | prices,
        "non_controllable_source": {"curtailment_cost": 0.001},
    }


def stages(count: int, openings: int) -> dict[str, object]:
    """Make stages of one block that bears the name of the month."""
    length = dt.timedelta(days=DAYS_PER_STAGE)
    return {
        "policy_graph": {"type": "finite_horizon", "annual_discount_rate": ANNUAL_DISCOUNT_RATE},
        "stages": [
            {
                "id": stage,
                "start_date": (FIRST_DAY + stage * length).isoformat(),
                "end_date": (FIRST_DAY + (stage + 1) * length).isoformat(),
                "blocks": [{"id": 0, "name": MONTHS[stage % len(MONTHS)], "hours": HOURS}],
                "num_scenarios": 1 if stage == 0 else openings,
            }
            for stage in range(count)
        ],
    }


def lines(figures: Figures) -> list[dict[str, object]]:
    """Join each pair of buses that exchange energy by one line; its two directions share one cost."""
    result: list[dict[str, object]] = []
    for source in range(len(BUSES)):
        for target in range(source + 1, len(BUSES)):
            direct, reverse = figures.exchange[source][target], figures.exchange[target][source]
            if direct == 0 and reverse == 0:
                continue
            name, cost = f"{BUSES[source]}_{BUSES[target]}", figures.exchange_cost[source][target]
            if cost != figures.exchange_cost[target][source]:
                message = f"exchange_cost.csv: {name} costs something else the other way; a line has one cost"
                raise ValueError(message)
            capacity = {"direct_mw": direct, "reverse_mw": reverse}
            line = {"id": len(result), "name": name, "source_bus_id": source, "target_bus_id": target}
            result.append(line | {"capacity": capacity, "exchange_cost": cost})
    return result


def hydros(figures: Figures) -> list[dict[str, object]]:
    """Give each region one reservoir; volumes and flows are energy, so a turbined unit is a generated MW."""
    result: list[dict[str, object]] = []
    for region, name in enumerate(REGIONS):
        upper = figures.hydro_max[region]
        generation: dict[str, object] = {"model": "constant_productivity", "productivity_mw_per_m3s": 1.0}
        generation |= {"min_turbined_m3s": 0.0, "max_turbined_m3s": upper}
        generation |= {"min_generation_mw": 0.0, "max_generation_mw": upper}
        reservoir = {"min_storage_hm3": 0.0, "max_storage_hm3": figures.storage_max[region]}
        hydro = {"id": region, "name": name, "bus_id": region, "reservoir": reservoir}
        result.append(hydro | {"outflow": {"min_outflow_m3s": 0.0}, "generation": generation})
    return result


def thermals(figures: Figures, deficits: Sequence[tuple[int, int]]) -> list[dict[str, object]]:
    """List the thermal plants, then the deficit tiers with their highest monthly limit."""
    plants = list(figures.plants)
    for region, tier in deficits:
        share, cost = figures.tiers[tier]
        highest = max(row[region] for row in figures.demand) * share
        plants.append(Plant(region, f"{REGIONS[region]}_DEFICIT_{tier}", 0.0, highest, cost))
    return [
        {
            "id": number,
            "name": plant.name,
            "bus_id": plant.region,
            "cost_per_mwh": plant.cost,
            "generation": {"min_mw": plant.min_mw, "max_mw": plant.max_mw},
        }
        for number, plant in enumerate(plants)
    ]


def write_series(figures: Figures, case: Path, stage_count: int, openings: int) -> None:
    """Write what varies by stage: deficit limits, demand, and the inflows of `openings` historical years."""
    deficits = [(region, tier) for region in range(len(REGIONS)) for tier in range(len(figures.tiers))]
    write_json(case / "system/thermals.json", {"thermals": thermals(figures, deficits)})
    limits: list[tuple[float, ...]] = []
    load: list[tuple[float, ...]] = []
    inflow: list[tuple[float, ...]] = []
    years = [figures.history[position] for position in evenly_spaced(openings, len(figures.history))]
    for stage in range(stage_count):
        month = stage % len(MONTHS)
        demand = [*figures.demand[month], 0.0]
        for number, (region, tier) in enumerate(deficits, start=len(figures.plants)):
            limits.append((number, stage, demand[region] * figures.tiers[tier][0]))
        load.extend((bus, stage, power, 0.0) for bus, power in enumerate(demand))
        samples = [figures.first_inflow] if stage == 0 else [year[month] for year in years]
        for opening, sample in enumerate(samples):
            inflow.extend((stage, opening, region, value) for region, value in enumerate(sample))
    moments = [(region, stage, 0.0, 1.0) for stage in range(stage_count) for region in range(len(REGIONS))]
    bounds, scenarios = case / "constraints", case / "scenarios"
    write_parquet(bounds / "thermal_bounds.parquet", "thermal_id stage_id max_generation_mw", limits)
    write_parquet(scenarios / "load_seasonal_stats.parquet", "bus_id stage_id mean_mw std_mw", load)
    write_parquet(scenarios / "inflow_seasonal_stats.parquet", "hydro_id stage_id mean_m3s std_m3s", moments)
    write_parquet(scenarios / "noise_openings.parquet", "stage_id opening_index entity_index value", inflow)


def write_case(figures: Figures, case: Path, stage_count: int, openings: int) -> None:
    """Write the whole case directory."""
    storage = [{"hydro_id": hydro, "value_hm3": value} for hydro, value in enumerate(figures.storage_initial)]
    buses = [{"id": bus, "name": name} for bus, name in enumerate(BUSES)]
    write_json(case / "config.json", config())
    write_json(case / "penalties.json", penalties())
    write_json(case / "stages.json", stages(stage_count, openings))
    write_json(case / "initial_conditions.json", {"storage": storage, "filling_storage": []})
    write_json(case / "system/buses.json", {"buses": buses})
    write_json(case / "system/lines.json", {"lines": lines(figures)})
    write_json(case / "system/hydros.json", {"hydros": hydros(figures)})
    write_series(figures, case, stage_count, openings)


def main() -> None:
    """Read the arguments and the figures, write the case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("figures", type=Path, help="folder of the published CSV files")
    parser.add_argument("case", type=Path, help="case directory to write; files in it are replaced")
    parser.add_argument("--stages", type=int, default=12, help="months from January on (default: 12)")
    parser.add_argument("--openings", type=int, default=20, help="years of inflow per stage (default: 20)")
    help_text = "inflow of stage 0: of hydro.csv (default) or as published with msppy's results"
    parser.add_argument("--first-inflow", choices=("hydro", "published"), default="hydro", help=help_text)
    options = parser.parse_args()
    figures = read_figures(options.figures)
    if options.stages < 1:
        parser.error(f"--stages is {options.stages}; at least 1 is needed")
    if not 1 <= options.openings <= len(figures.history):
        parser.error(
            f"--openings is {options.openings}; it can be 1 to {len(figures.history)} complete years"
        )
    if options.first_inflow == "published":
        figures = replace(figures, first_inflow=list(PUBLISHED_FIRST_INFLOW))
    write_case(figures, options.case, options.stages, options.openings)


if __name__ == "__main__":
    main()
