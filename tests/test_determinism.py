from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cobre
from support import EXAMPLE, copy_case, edit_json, result_bytes


def run(case: Path, output: Path, threads: int) -> dict[str, bytes]:
    """Train and simulate, and return every byte that was written."""
    rules = [cobre.IterationLimit(12)]
    result = cobre.train(case, seed=3, stopping=rules, threads=threads, progress=False, output_dir=output)
    cobre.simulate(
        case,
        result.policy,
        scenarios=130,
        seed=5,
        threads=threads,
        progress=False,
        output_dir=output,
    )
    return result_bytes(output)


@pytest.fixture(scope="module")
def one_thread(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return run(EXAMPLE, tmp_path_factory.mktemp("one") / "output", 1)


def test_everything_is_compared(one_thread: dict[str, bytes]) -> None:
    expected = {"policy/cuts.parquet", "policy/policy.json", "training/convergence.parquet"}
    assert expected < set(one_thread)
    assert {"simulation/hydros.parquet", "simulation/summary.json"} < set(one_thread)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_byte(one_thread: dict[str, bytes], threads: int, tmp_path: Path) -> None:
    assert run(EXAMPLE, tmp_path / "output", threads) == one_thread


def test_the_order_of_the_input_does_not_change_a_byte(one_thread: dict[str, bytes], tmp_path: Path) -> None:
    case = copy_case(EXAMPLE, tmp_path / "case")
    for name in ("buses", "hydros", "lines", "thermals"):

        def reverse(content: Any, name: str = name) -> None:  # noqa: ANN401 - JSON
            content[name].reverse()

        edit_json(case / "system" / f"{name}.json", reverse)
    edit_json(case / "initial_conditions.json", lambda content: content["storage"].reverse())
    assert run(case, tmp_path / "output", 2) == one_thread
