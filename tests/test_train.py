from __future__ import annotations

import math
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import cobre
from support import EXAMPLE, case_directory, copy_case, dry_case, edit_json

# Expected lower bounds and absolute tolerances of the case format's development oracles.
ORACLES = {
    "d01-thermal-dispatch": (182_500.0, 1e-6),
    "d02-single-hydro": (23_635_000 / 9, 1e-4),
    "d03-two-hydro-cascade": (4_171_000 / 3, 1e-4),
    "d04-transmission": (5_263_443_883 / 657, 1e-4),
    "d09-multi-deficit": (80_738_000.0, 1e-6),
    "d14-block-factors": (176_900.0, 1e-4),
    "d27-per-stage-thermal-cost": (10_950_000.0, 1e-4),
}
D02_AT_12_PERCENT = 2_611_454.584787283


def close(expected: float, tolerance: float) -> Any:  # noqa: ANN401
    """Compare absolutely, but never closer than double precision allows."""
    return pytest.approx(expected, abs=tolerance, rel=1e-9)


@pytest.mark.parametrize(("name", "oracle"), ORACLES.items(), ids=ORACLES)
def test_development_oracles(name: str, oracle: tuple[float, float]) -> None:
    result = cobre.train(case_directory(name), progress=False)
    assert result.final_lower_bound == close(*oracle)


@pytest.mark.parametrize("name", ORACLES)
def test_with_one_opening_per_stage_the_bound_is_the_cost(name: str) -> None:
    case = cobre.Case.load(case_directory(name))
    result = cobre.train(case, progress=False)
    simulation = cobre.simulate(case, result.policy, scenarios=2, progress=False)
    assert simulation.mean_cost == pytest.approx(result.final_lower_bound, rel=1e-9)
    assert simulation.std_cost == pytest.approx(0.0, abs=1e-6)
    assert result.final_gap == pytest.approx(0.0, abs=1e-9)


def test_discounting(tmp_path: Path) -> None:
    path = copy_case(case_directory("d02-single-hydro"), tmp_path / "case")
    edit_json(path / "stages.json", lambda content: content["policy_graph"].update(annual_discount_rate=0.12))
    result = cobre.train(path, progress=False)
    assert result.final_lower_bound == pytest.approx(D02_AT_12_PERCENT, rel=1e-9)
    simulation = cobre.simulate(path, result.policy, scenarios=1, progress=False)
    assert simulation.mean_cost == pytest.approx(D02_AT_12_PERCENT, rel=1e-9)


def test_result_of_a_training(trained: cobre.TrainingResult) -> None:
    assert trained.iterations == 10
    assert trained.termination_reason == "iteration_limit"
    assert trained.workers is None
    records = trained.convergence_history
    assert [record.iteration for record in records] == list(range(1, 11))
    assert records[-1].lower_bound == trained.final_lower_bound
    assert records[-1].upper_bound == trained.final_upper_bound
    assert records[-1].gap == trained.final_gap
    assert all(first.lower_bound <= second.lower_bound for first, second in pairwise(records))
    assert all(first.elapsed_secs <= second.elapsed_secs for first, second in pairwise(records))
    assert trained.total_cuts == trained.policy.total_cuts >= trained.active_cuts > 0
    assert trained.table("convergence").num_rows == 10
    assert trained.table("cuts").num_rows == trained.total_cuts
    with pytest.raises(KeyError, match="convergence"):
        trained.table("convergense")
    assert "lower bound" in repr(trained)
    assert "<table>" in trained._repr_html_()


def test_results_survive_pickle_and_disk(trained: cobre.TrainingResult) -> None:
    assert trained.output_dir is not None
    loaded = cobre.TrainingResult.load(trained.output_dir)
    copied = pickle.loads(pickle.dumps(trained))  # noqa: S301
    for twin in (loaded, copied):
        assert twin == trained
        assert twin.convergence_history == trained.convergence_history
        assert twin.timings == trained.timings
        assert twin.output_dir == trained.output_dir
        assert twin.threads == trained.threads


def test_a_directory_without_a_training(tmp_path: Path) -> None:
    with pytest.raises(cobre.IOError) as caught:
        cobre.TrainingResult.load(tmp_path)
    assert caught.value.kind == "OutputNotFound"
    assert str(tmp_path) in str(caught.value)


def test_a_case_may_be_a_path_and_settings_may_be_overridden(example: cobre.Case) -> None:
    overrides = {
        "training": {
            "forward_passes": 2,
            "stopping_rules": [{"type": "iteration_limit", "limit": 3}],
        }
    }
    by_path = cobre.train(EXAMPLE, seed=1, config_overrides=overrides, progress=False)
    by_case = cobre.train(example, seed=1, config_overrides=overrides, progress=False)
    assert by_path == by_case
    assert by_path.iterations == 3
    # Two paths, eleven stages with a future.
    assert by_path.total_cuts + sum(record.cuts_dropped for record in by_path.convergence_history) <= 66


def test_seeds_matter(example: cobre.Case) -> None:
    rules = [cobre.IterationLimit(3)]
    one, two = (cobre.train(example, seed=seed, stopping=rules, progress=False) for seed in (1, 2))
    assert one.policy != two.policy
    assert (one.seed, two.seed) == (1, 2)


def test_stopping_rules(example: cobre.Case) -> None:
    stalled = cobre.train(
        example, stopping=[cobre.BoundStalling(2, 0.5), cobre.IterationLimit(100)], progress=False
    )
    assert stalled.termination_reason == "bound_stalling"
    timed = cobre.train(example, stopping=[cobre.TimeLimit(0.05)], progress=False)
    assert timed.termination_reason == "time_limit"
    assert timed.elapsed_secs >= 0.05


def test_aversion_to_risk_costs(example: cobre.Case) -> None:
    rules = [cobre.IterationLimit(30)]
    neutral = cobre.train(example, seed=1, risk=cobre.Expectation(), stopping=rules, progress=False)
    averse = cobre.train(
        example,
        seed=1,
        risk=cobre.CVaR(alpha=0.25, weight=0.5),
        root_risk=cobre.CVaR(alpha=0.25, weight=0.5),
        stopping=rules,
        progress=False,
    )
    assert averse.final_lower_bound > neutral.final_lower_bound
    assert averse.final_gap is None
    assert neutral.final_gap is not None
    whole = cobre.train(example, seed=1, risk=cobre.CVaR(1.0), stopping=rules, progress=False)
    assert whole.policy.cuts() == neutral.policy.cuts()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"threads": 0}, cobre.ValidationError, "at least 1"),
        ({"threads": 1.5}, TypeError, "whole number"),
        ({"seed": -1}, cobre.ValidationError, "at least 0"),
        ({"seed": 2**64}, cobre.ValidationError, "less than"),
        ({"seed": "x"}, TypeError, "whole number"),
        ({"risk": "cvar"}, TypeError, "CVaR"),
        ({"root_risk": 0.5}, TypeError, "root_risk"),
        ({"stopping": []}, cobre.ValidationError, "at least one rule"),
        ({"stopping": cobre.IterationLimit(3)}, TypeError, "list of rules"),
        ({"stopping": [10]}, TypeError, "IterationLimit"),
        ({"progress": "yes"}, ValueError, "auto"),
        ({"progress_callback": 3}, TypeError, "callable"),
        ({"config_overrides": "x"}, TypeError, "mapping"),
        ({"forward_passes": 3}, TypeError, "forward_passes"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(
    example: cobre.Case, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        cobre.train(example, **arguments)


def test_wrong_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"cobre\.Case"):
        cobre.train(3)  # type: ignore[arg-type]
    with pytest.raises(cobre.ValidationError):
        cobre.train(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "make",
    [
        lambda: cobre.CVaR(0.0),
        lambda: cobre.CVaR(1.5),
        lambda: cobre.CVaR(math.nan),
        lambda: cobre.CVaR(0.5, weight=-0.1),
        lambda: cobre.IterationLimit(0),
        lambda: cobre.TimeLimit(0.0),
        lambda: cobre.TimeLimit(math.inf),
        lambda: cobre.BoundStalling(0, 1e-3),
        lambda: cobre.BoundStalling(5, 0.0),
    ],
)
def test_wrong_options_are_refused(make: Any) -> None:  # noqa: ANN401
    with pytest.raises(cobre.ValidationError) as caught:
        make()
    assert caught.value.problems
    assert caught.value.kind == "OutOfRange"


def test_a_foreign_directory_is_left_alone(example: cobre.Case, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(cobre.ValidationError, match=r"thesis\.tex"):
        cobre.train(example, stopping=[cobre.IterationLimit(1)], progress=False, output_dir=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_infeasible_stage_says_where(tmp_path: Path) -> None:
    case, output = dry_case(tmp_path / "case", stage=3), tmp_path / "output"
    with pytest.raises(cobre.SolverError) as caught:
        cobre.train(case, stopping=[cobre.IterationLimit(5)], progress=False, output_dir=output)
    error = caught.value
    assert error.kind == "SolverFailure"
    assert (error.stage, error.iteration) == (3, 1)
    assert error.path is not None
    assert error.noise is not None
    assert error.solver_status is not None
    assert error.lp_file is not None
    assert Path(error.lp_file).parent == output
    assert "ROWS" in Path(error.lp_file).read_text()
