from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

import cobre


def test_equal_tables_give_equal_bytes(simulated: cobre.SimulationResult, tmp_path: Path) -> None:
    for name in simulated.table_names:
        table = simulated.table(name)
        table.write_parquet(tmp_path / "one.parquet")
        again = cobre.Table.read_parquet(tmp_path / "one.parquet")
        again.write_parquet(tmp_path / "two.parquet")
        assert again == table
        one, two = ((tmp_path / f"{which}.parquet").read_bytes() for which in ("one", "two"))
        assert one == two


def test_files_are_what_tables_say(simulated: cobre.SimulationResult) -> None:
    assert simulated.output_dir is not None
    for name in simulated.table_names:
        file = simulated.output_dir / "simulation" / f"{name}.parquet"
        expected = simulated.table(name).to_pydict()
        assert pq.read_table(file).to_pydict() == expected
        assert pl.read_parquet(file).to_dict(as_series=False) == expected


def test_policies_are_the_same_bytes_again(trained: cobre.TrainingResult, tmp_path: Path) -> None:
    assert trained.output_dir is not None
    cobre.Policy.load(trained.output_dir / "policy").save(tmp_path / "policy")
    for name in ("cuts.parquet", "policy.json"):
        first = trained.output_dir / "policy" / name
        assert (tmp_path / "policy" / name).read_bytes() == first.read_bytes()


def test_missing_and_damaged_tables_are_named(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    with pytest.raises(cobre.IOError) as missing:
        cobre.Table.read_parquet(file)
    assert (missing.value.kind, missing.value.path) == ("OutputNotFound", str(file))
    file.write_bytes(b"not parquet")
    with pytest.raises(cobre.IOError) as damaged:
        cobre.Table.read_parquet(file)
    assert (damaged.value.kind, damaged.value.path) == ("OutputCorrupted", str(file))
