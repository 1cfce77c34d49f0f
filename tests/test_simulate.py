from __future__ import annotations

import math
import pickle
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import cobre
from support import EXAMPLE, case_directory


def test_costs_and_their_statistics(simulated: cobre.SimulationResult) -> None:
    assert simulated.scenarios == len(simulated.costs) == 100
    assert simulated.mean_cost == pytest.approx(statistics.fmean(simulated.costs), rel=1e-12)
    assert simulated.std_cost == pytest.approx(statistics.stdev(simulated.costs), rel=1e-9)
    assert simulated.std_cost is not None
    assert simulated.half_width == pytest.approx(1.96 * simulated.std_cost / 10.0, rel=1e-3)
    assert "mean cost" in repr(simulated)
    assert "<table>" in simulated._repr_html_()


def test_a_simulation_is_above_the_bound(
    trained: cobre.TrainingResult, simulated: cobre.SimulationResult
) -> None:
    assert simulated.half_width is not None
    assert simulated.mean_cost + 2.0 * simulated.half_width > trained.final_lower_bound


def test_every_library_reads_the_tables(simulated: cobre.SimulationResult) -> None:
    assert {"scenarios", "hydros", "thermals", "buses"} <= set(simulated.table_names)
    for name in simulated.table_names:
        table = simulated.table(name)
        expected = table.to_pydict()
        assert list(expected) == table.column_names
        assert pa.table(table).to_pydict() == expected
        assert table.to_pyarrow().num_rows == len(table) == table.num_rows
        assert pl.DataFrame(table).to_dict(as_series=False) == expected
        assert table.to_polars().shape == (table.num_rows, len(table.column_names))
        frame = table.to_pandas()
        assert isinstance(frame, pd.DataFrame)
        assert list(frame.columns) == table.column_names
        assert len(frame) == table.num_rows


def test_tables_explain_themselves(simulated: cobre.SimulationResult) -> None:
    table = simulated.table("hydros")
    assert "rows" in repr(table)
    assert "<table>" in table._repr_html_()
    assert table["hydro_id"] == table.column("hydro_id")
    with pytest.raises(KeyError, match="hydro_id"):
        table.column("hydro")
    with pytest.raises(KeyError, match="hydros"):
        simulated.table("hydro")
    with pytest.raises(TypeError, match="not iterable"):
        list(table)  # type: ignore[call-overload]
    assert pickle.loads(pickle.dumps(table)) == table  # noqa: S301


def test_results_survive_pickle_and_disk(
    example: cobre.Case, trained: cobre.TrainingResult, simulated: cobre.SimulationResult
) -> None:
    assert simulated.output_dir is not None
    loaded = cobre.SimulationResult.load(simulated.output_dir)
    copied = pickle.loads(pickle.dumps(simulated))  # noqa: S301
    in_memory = cobre.simulate(example, trained.policy, scenarios=100, seed=7, progress=False)
    copied_from_memory = pickle.loads(pickle.dumps(in_memory))  # noqa: S301
    assert in_memory.output_dir is None
    for twin in (loaded, copied, in_memory, copied_from_memory):
        assert twin == simulated
        for name in simulated.table_names:
            assert twin.table(name) == simulated.table(name)


def test_a_directory_without_a_simulation(trained: cobre.TrainingResult) -> None:
    assert trained.output_dir is not None
    with pytest.raises(cobre.IOError, match="no simulation") as caught:
        cobre.SimulationResult.load(trained.output_dir)
    assert caught.value.kind == "OutputNotFound"


def test_storage_obeys_the_reservoirs(example: cobre.Case, simulated: cobre.SimulationResult) -> None:
    hydros = example.tables["hydros"].to_pandas().set_index("hydro_id")
    table = simulated.table("hydros").to_pandas()
    upper = table["hydro_id"].map(hydros["max_storage_hm3"])
    assert (table["storage_final_hm3"] >= -1e-6).all()
    assert (table["storage_final_hm3"] <= upper + 1e-6).all()


def test_xarray(simulated: cobre.SimulationResult) -> None:
    data = simulated.to_xarray()
    assert data.sizes["scenario"] == 100
    assert data.sizes["stage"] == 12
    storage = data["hydros_storage_final_hm3"]
    assert {"scenario", "stage", "hydro"} <= set(storage.dims)
    table = simulated.table("hydros").to_pandas()
    assert float(storage.sum()) == pytest.approx(float(table["storage_final_hm3"].sum()), rel=1e-12)
    assert not np.isnan(data["scenarios_cost"]).any()


def test_xarray_is_optional() -> None:
    program = (
        "import sys; sys.modules['xarray'] = None\n"
        "import cobre\n"
        "result = cobre.SimulationResult(1, 1.0, None, None, (1.0,), 0, ())\n"
        "try:\n    result.to_xarray()\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install xarray" in done.stdout


def test_scenarios_do_not_depend_on_how_many_follow(
    example: cobre.Case, trained: cobre.TrainingResult, simulated: cobre.SimulationResult
) -> None:
    fewer = cobre.simulate(example, trained.policy, scenarios=10, seed=7, progress=False)
    assert fewer.costs == simulated.costs[:10]
    other = cobre.simulate(example, trained.policy, scenarios=10, seed=8, progress=False)
    assert other.costs != fewer.costs


def test_one_scenario_has_no_spread(example: cobre.Case, trained: cobre.TrainingResult) -> None:
    one = cobre.simulate(example, trained.policy, scenarios=1, progress=False)
    assert one.mean_cost == one.costs[0]
    assert one.std_cost is None or one.std_cost == 0.0
    assert math.isfinite(one.mean_cost)


def test_paths_are_accepted(trained: cobre.TrainingResult, tmp_path: Path) -> None:
    assert trained.output_dir is not None
    by_path = cobre.simulate(
        EXAMPLE, trained.output_dir / "policy", scenarios=3, seed=7, progress=False, output_dir=tmp_path
    )
    by_run = cobre.simulate(EXAMPLE, str(trained.output_dir), scenarios=3, seed=7, progress=False)
    assert by_path == by_run
    assert (tmp_path / "simulation" / "summary.json").is_file()


def test_policy_and_case_must_belong_together(trained: cobre.TrainingResult) -> None:
    with pytest.raises(cobre.ValidationError) as caught:
        cobre.simulate(case_directory("d02-single-hydro"), trained.policy, progress=False)
    assert caught.value.kind == "IncompatibleRuns"


def test_wrong_arguments_are_refused(example: cobre.Case, trained: cobre.TrainingResult) -> None:
    with pytest.raises(cobre.ValidationError, match="scenarios"):
        cobre.simulate(example, trained.policy, scenarios=0)
    with pytest.raises(TypeError, match=r"cobre\.Policy"):
        cobre.simulate(example, 3)  # type: ignore[arg-type]
    with pytest.raises(cobre.IOError):
        cobre.simulate(example, EXAMPLE)
