"""The ``cobre`` command.

Exit codes: 0 ok · 1 some run failed · 2 bad input or usage · 3 solver · 4 I/O · 5 worker lost ·
130 interrupted (Ctrl-C) · 143 terminated (SIGTERM, SIGHUP).
"""

import contextlib
import json
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

import cobre
from cobre import _report
from cobre.progress import Progress
from cobre.risk import Risk
from cobre.stopping import StoppingRule

if TYPE_CHECKING:
    from cobre.workers import Backend

__all__ = ["app", "main"]

_EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (cobre.ValidationError, 2),
    (cobre.SolverError, 3),
    (cobre.IOError, 4),
    (cobre.WorkerError, 5),
    (cobre.CobreError, 1),
    (OSError, 4),
    (ImportError, 1),
)
_DEMO_SEED = 42

app = typer.Typer(
    name="cobre",
    help="Certified policies for hydrothermal dispatch and other multistage stochastic linear programs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

CaseArgument = Annotated[Path, typer.Argument(metavar="CASE", help="Directory of the case.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed of the random paths.")]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads of each process; all cores by default.")]
WorkersOption = Annotated[
    int, typer.Option("--workers", "-w", metavar="N", help="Processes that share the work.")
]
BackendOption = Annotated[
    str, typer.Option(metavar="WORD", help="How processes talk: auto, shm, tcp, or local for one process.")
]
RestartsOption = Annotated[
    int, typer.Option(metavar="K", help="How many times to begin again when a worker was lost.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override config.json, e.g. training.forward_passes=8; repeatable."
    ),
]
ProgressOption = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Show progress; by default on a terminal.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where in the program an error arose.")]


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: handled like Ctrl-C, told apart by the exit code."""


@app.command()
def demo(
    *,
    seed: SeedOption = _DEMO_SEED,
    threads: ThreadsOption = None,
    progress: ProgressOption = None,
    debug: DebugOption = False,
) -> None:
    """Train and simulate the four-reservoir example: seconds."""
    with _errors_reported(debug=debug):
        case = cobre.Case.load(cobre.example_case())
        _say(_report.case_line(case))
        result = cobre.train(case, seed=seed, threads=threads, progress=_progress(progress))
        simulation = cobre.simulate(
            case, result.policy, seed=seed, threads=threads, progress=_progress(progress)
        )
        _say(_report.demo_report(case, result, simulation))


@app.command()
def validate(case: CaseArgument, *, overrides: SetOption = None, debug: DebugOption = False) -> None:
    """List every problem of a case, or say what it holds."""
    with _errors_reported(debug=debug):
        settings = _overrides(overrides)
        problems = cobre.Case.validate(case, settings)
        if not problems:
            _say(_report.case_summary(cobre.Case.load(case, settings)))
            return
        for problem in problems:
            _say(str(problem))
        _say(f"{case}: {len(problems)} problem{'' if len(problems) == 1 else 's'}")
        raise typer.Exit(2)


@app.command()
def train(
    case: CaseArgument,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the results go.")],
    seed: SeedOption = None,
    workers: WorkersOption = 1,
    backend: BackendOption = "auto",
    threads: ThreadsOption = None,
    restarts: RestartsOption = 0,
    iterations: Annotated[int | None, typer.Option(help="Stop after so many iterations.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    alpha: Annotated[
        float | None, typer.Option(help="CVaR: the worst fraction of outcomes, in (0, 1].")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="CVaR: its share against the mean, in [0, 1].")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(metavar="N", help="Iterations between two checkpoints.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in DIR.")] = False,
    overrides: SetOption = None,
    progress: ProgressOption = None,
    debug: DebugOption = False,
) -> None:
    """Train a policy and write it to DIR/policy."""
    with _errors_reported(debug=debug):
        try:
            result = cobre.train(
                case,
                seed=seed,
                config_overrides=_overrides(overrides),
                risk=_risk(alpha, weight),
                stopping=_stopping(iterations, seconds),
                num_workers=workers,
                backend=cast("Backend", backend),
                threads=threads,
                restarts=restarts,
                progress=_progress(progress),
                output_dir=output,
                checkpoint_every=checkpoint_every,
                resume=resume,
            )
        except KeyboardInterrupt:
            _complain(_report.interrupted_training(case, output))
            raise
        _say(_report.facts_table(result))
        _say(f"\nThe policy is in {output / 'policy'}. To simulate it:")
        _say(f"  cobre simulate {case} --policy {output / 'policy'}")


@app.command()
def simulate(
    case: CaseArgument,
    *,
    policy: Annotated[Path, typer.Option("--policy", "-p", metavar="DIR", help="Directory of the policy.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where the tables go.")
    ] = None,
    scenarios: Annotated[int | None, typer.Option(help="Number of scenarios.")] = None,
    seed: SeedOption = None,
    workers: WorkersOption = 1,
    backend: BackendOption = "auto",
    threads: ThreadsOption = None,
    restarts: RestartsOption = 0,
    overrides: SetOption = None,
    progress: ProgressOption = None,
    debug: DebugOption = False,
) -> None:
    """Simulate a policy and write what was done to DIR/simulation."""
    with _errors_reported(debug=debug):
        try:
            result = cobre.simulate(
                case,
                policy,
                scenarios=scenarios,
                seed=seed,
                config_overrides=_overrides(overrides),
                num_workers=workers,
                backend=cast("Backend", backend),
                threads=threads,
                restarts=restarts,
                progress=_progress(progress),
                output_dir=output,
            )
        except KeyboardInterrupt:
            _complain("interrupted: a simulation that is not complete writes nothing; run it again")
            raise
        _say(_report.facts_table(result))
        if output is not None:
            _say(f"\nThe tables ({', '.join(result.table_names)}) are in {output / 'simulation'}.")


@app.command()
def version() -> None:
    """Print the version."""
    with _errors_reported(debug=False):
        _say(f"cobre {cobre.__version__}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process with its exit code.

    Args:
        arguments: Words after ``cobre``; those of the command line when ``None``.
    """
    signal.signal(signal.SIGTERM, _terminate)
    # A closed terminal sends SIGHUP: what was earned is kept, as after SIGTERM. nohup goes on ignoring it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _terminate)
    app(args=None if arguments is None else list(arguments))
    sys.exit(0)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


@contextlib.contextmanager
def _errors_reported(*, debug: bool) -> Iterator[None]:
    """Turn errors into messages on stderr and exit codes."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise typer.Exit(143 if isinstance(error, _Terminated) else 130) from error
    except BrokenPipeError:
        raise  # Whoever read stdout has seen enough; typer ends the process quietly.
    except (cobre.CobreError, ImportError, OSError) as error:
        if debug:
            _complain(traceback.format_exc().rstrip())
        _complain(f"error: {error}")
        # A worker that failed by an error of its own was not lost.
        cause = (isinstance(error, cobre.WorkerError) and error.inner) or error
        code = next(code for kind, code in _EXIT_CODES if isinstance(cause, kind))
        raise typer.Exit(code) from error


def _progress(choice: bool | None) -> Progress:  # noqa: FBT001 - the value of a flag
    return "auto" if choice is None else choice


def _overrides(settings: list[str] | None) -> dict[str, Any] | None:
    """Make a tree of settings of ``training.forward_passes=8`` and the like; values are JSON or words."""
    if not settings:
        return None
    tree: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        keys = name.split(".")
        if not equals or not all(keys):
            raise typer.BadParameter(f"--set takes KEY=VALUE, not {setting!r}")
        branch = tree
        for key in keys[:-1]:
            inner = branch.setdefault(key, {})
            if not isinstance(inner, dict):
                raise typer.BadParameter(f"--set gives both a value and keys to {key!r}")
            branch = inner
        try:
            branch[keys[-1]] = json.loads(text)
        except ValueError:
            branch[keys[-1]] = text
    return tree


def _risk(alpha: float | None, weight: float | None) -> Risk | None:
    if alpha is None:
        if weight is not None:
            raise typer.BadParameter("--weight needs --alpha")
        return None
    return cobre.CVaR(alpha, 1.0 if weight is None else weight)


def _stopping(iterations: int | None, seconds: float | None) -> list[StoppingRule] | None:
    rules: list[StoppingRule] = []
    if iterations is not None:
        rules.append(cobre.IterationLimit(iterations))
    if seconds is not None:
        rules.append(cobre.TimeLimit(seconds))
    return rules or None


def _say(text: str) -> None:
    print(text)


def _complain(text: str) -> None:
    print(text, file=sys.stderr)
