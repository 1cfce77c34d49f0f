from __future__ import annotations

import copy
import pickle

import pytest

import cobre
from cobre.errors import KINDS

PROBLEMS = [
    cobre.Problem("config.json", "training", "forward_pases", "4", "a known key", "forward_passes?"),
    cobre.Problem("stages.json", "stages[1]", "num_scenarios", "0", "at least 1", kind="OutOfRange"),
]
ERRORS = [
    cobre.CobreError("stopped", kind="Cancelled", context={"iteration": 3}, suggestion="run it again"),
    cobre.ValidationError("the case: 2 problems", kind="SchemaViolation", problems=PROBLEMS),
    cobre.SolverError(
        "the stage problem is infeasible",
        kind="SolverFailure",
        context={
            "stage": 2,
            "node": "2",
            "iteration": 7,
            "path": 1,
            "noise": 4,
            "solver_status": "infeasible",
            "lp_file": "out/stage_2.mps",
        },
    ),
    cobre.IOError("the file does not exist", kind="OutputNotFound", context={"path": "out/policy"}),
    cobre.WorkerError(
        "a worker died", context={"rank": 2, "exit_code": -9}, inner=cobre.CobreError("why it did")
    ),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickle_and_copy(error: cobre.CobreError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert (twin.message, twin.kind, twin.context) == (error.message, error.kind, error.context)
        assert (twin.suggestion, twin.problems) == (error.suggestion, error.problems)
    inner = getattr(error, "inner", None)
    assert str(getattr(pickle.loads(pickle.dumps(error)), "inner", None)) == str(inner)  # noqa: S301


@pytest.mark.parametrize(
    ("error", "builtin"),
    list(zip(ERRORS, [Exception, ValueError, RuntimeError, OSError, RuntimeError], strict=True)),
)
def test_errors_are_what_other_code_catches(error: cobre.CobreError, builtin: type[Exception]) -> None:
    assert isinstance(error, (cobre.CobreError, builtin))
    assert isinstance(error, builtin)
    assert error.kind in KINDS


def test_text_names_every_problem_on_a_line_of_its_own() -> None:
    lines = str(ERRORS[1]).splitlines()
    assert lines[0] == "the case: 2 problems"
    assert [line.strip() for line in lines[1:]] == [str(problem) for problem in PROBLEMS]
    assert "forward_passes?" in lines[1]


def test_text_has_context_and_suggestion() -> None:
    assert str(ERRORS[0]) == "stopped (iteration 3); run it again"
    assert "path out/policy" in str(ERRORS[3])


def test_solver_errors_say_where() -> None:
    error = ERRORS[2]
    assert isinstance(error, cobre.SolverError)
    assert (error.stage, error.node, error.iteration, error.path, error.noise) == (2, "2", 7, 1, 4)
    assert (error.solver_status, error.lp_file) == ("infeasible", "out/stage_2.mps")
    empty = cobre.SolverError("nothing is known")
    assert empty.stage is None
    assert empty.lp_file is None


def test_io_and_worker_errors_say_what() -> None:
    assert isinstance(ERRORS[3], cobre.IOError)
    assert ERRORS[3].path == "out/policy"
    assert isinstance(ERRORS[4], cobre.WorkerError)
    assert (ERRORS[4].rank, ERRORS[4].exit_code) == (2, -9)
    assert str(ERRORS[4].inner) == "why it did"


def test_worker_errors_show_the_end_of_stderr() -> None:
    lines = "".join(f"line {number}\n" for number in range(100))
    error = cobre.WorkerError("worker 1 was lost", context={"rank": 1, "exit_code": None, "stderr": lines})
    error.others = [cobre.WorkerError("worker 0 failed", context={"rank": 0})]
    text = str(error)
    assert text.startswith("worker 1 was lost (rank 1)\nthe end of its stderr:\n  line 90\n")
    assert text.endswith("line 99")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert again.stderr == lines
    assert [other.rank for other in again.others] == [0]
    assert cobre.WorkerError("nothing is known").stderr == ""


def test_problems_may_be_given_by_their_fields() -> None:
    error = cobre.ValidationError("one", problems=[{"file": "config.json", "expected": "a file"}])
    assert error.problems == [cobre.Problem("config.json", expected="a file")]


def test_options_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        cobre.CobreError("text", "OutOfRange")  # type: ignore[call-arg]
