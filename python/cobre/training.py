"""Training of policies."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cobre import _outputs
from cobre._distributed import run_ranks
from cobre._native import _core
from cobre._options import check_count, check_output, check_seed, refuse
from cobre._text import format_duration, format_money, format_number, html_table
from cobre.case import Case, as_case
from cobre.policy import Policy
from cobre.progress import Progress, callback_of, display
from cobre.risk import CVaR, Expectation, Risk
from cobre.stopping import BoundStalling, IterationLimit, StoppingRule, TimeLimit
from cobre.tables import PathLike, Table
from cobre.workers import Backend, Ranks, WorkerInfo, check_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cobre.events import ProgressEvent

__all__ = ["IterationRecord", "TrainingResult", "train"]


@dataclass(frozen=True)
class IterationRecord:
    """One iteration of a training.

    Records of equal trainings are equal, whatever the number of threads: times take no part in the
    comparison.
    """

    iteration: int
    """1-based."""
    lower_bound: float
    """Certified bound below the optimal cost, in $; never falls."""
    upper_bound: float | None
    """Mean cost of this iteration's forward paths, in $."""
    upper_bound_std: float | None
    """Standard deviation of those costs (n - 1), in $; ``None`` for a single path of a random problem."""
    upper_bound_half_width: float | None
    """Half width of the 95 % confidence interval of the mean, in $; ``None`` as above."""
    gap: float | None
    """``(upper_bound - lower_bound) / max(1, |upper_bound|)``; ``None`` when risk is not the mean."""
    cuts_added: int
    """Cuts added."""
    cuts_dropped: int
    """Cuts not added because no duals certified them."""
    cuts_active: int
    """Active cuts of all stages at the end of the iteration."""
    stage_solves: int
    """Stage problems solved: one per path, stage and opening."""
    pivots: int
    """Simplex iterations."""
    recoveries: int
    """Solves that needed more than the first attempt."""
    elapsed_secs: float = field(compare=False)
    """Seconds since training began, at the end of the iteration."""
    iteration_time_ms: float = field(compare=False)
    """Milliseconds of the iteration itself."""


@dataclass(frozen=True)
class TrainingResult:
    """A training: its policy, and how it came to be.

    Results can be pickled, and read again from the output directory with :meth:`load`.
    """

    policy: Policy
    """The policy."""
    convergence: Table = field(repr=False)
    """One row per iteration; the same bytes for any number of threads."""
    timings: Table = field(repr=False, compare=False)
    """One row per iteration: ``iteration``, ``elapsed_secs``, ``iteration_time_ms``."""
    termination_reason: str
    """``iteration_limit``, ``time_limit``, ``bound_stalling`` or ``interrupted``."""
    seed: int | None
    """Seed of the forward passes."""
    threads: int | None = field(default=None, compare=False)
    """Threads used."""
    output_dir: Path | None = field(default=None, compare=False)
    """Where the files are, when a directory was given."""
    workers: list[WorkerInfo] | None = field(default=None, repr=False, compare=False)
    """What each process did, by rank; ``None`` for a training in one process, and for one that was loaded."""

    @classmethod
    def load(cls, path: PathLike) -> TrainingResult:
        """Read a training from its output directory.

        Raises:
            IOError: It holds none, or its files are damaged.
        """
        directory = Path(path)
        run = _outputs.read_run(directory, "training")
        folder = directory / "training"
        return cls(
            policy=Policy.load(directory / run["config"].get("policy", {}).get("path", "policy")),
            convergence=Table.read_parquet(folder / "convergence.parquet"),
            timings=Table.read_parquet(folder / "timings.parquet"),
            termination_reason=run["termination_reason"],
            seed=run["options"]["seed"],
            threads=run["options"]["threads"],
            output_dir=directory,
        )

    @property
    def convergence_history(self) -> list[IterationRecord]:
        """One record per iteration, first to last."""
        columns: dict[str, list[Any]] = {**self.timings.to_pydict(), **self.convergence.to_pydict()}
        names = list(IterationRecord.__dataclass_fields__)
        rows = zip(*(columns[name] for name in names), strict=True)
        return [IterationRecord(**dict(zip(names, row, strict=True))) for row in rows]

    @property
    def iterations(self) -> int:
        """Iterations done."""
        return self.convergence.num_rows

    @property
    def final_lower_bound(self) -> float:
        """Certified lower bound on the optimal cost, in $; minus infinity before the first iteration."""
        return self.policy.lower_bound

    @property
    def final_upper_bound(self) -> float | None:
        """Mean cost of the last iteration's forward paths, in $: a rough estimate, a simulation is better."""
        return self._last("upper_bound")

    @property
    def final_upper_bound_half_width(self) -> float | None:
        """Half width of its 95 % confidence interval, in $; ``None`` for one path of a random problem."""
        return self._last("upper_bound_half_width")

    @property
    def final_gap(self) -> float | None:
        """``(upper - lower) / max(1, |upper|)``; ``None`` when a measure of risk is not the mean."""
        return self._last("gap")

    @property
    def total_cuts(self) -> int:
        """Cuts of all stages, active or not."""
        return self.policy.total_cuts

    @property
    def active_cuts(self) -> int:
        """Active cuts of all stages."""
        column = self.convergence.column("cuts_active")
        return cast("int", column[-1]) if column else 0

    @property
    def elapsed_secs(self) -> float:
        """Seconds from the first iteration's start to the last one's end."""
        column = self.timings.column("elapsed_secs")
        return cast("float", column[-1]) if column else 0.0

    def table(self, name: str) -> Table:
        """Return a table: ``convergence``, ``timings`` or ``cuts``.

        Raises:
            KeyError: There is no table of that name.
        """
        tables = {
            "convergence": self.convergence,
            "timings": self.timings,
            "cuts": self.policy.cuts(),
        }
        if name not in tables:
            raise KeyError(f"no table {name!r}; a training has: {', '.join(tables)}")
        return tables[name]

    def _last(self, name: str) -> float | None:
        column = self.convergence.column(name)
        return cast("float | None", column[-1]) if column else None

    def _facts(self) -> list[tuple[str, str]]:
        upper = format_money(self.final_upper_bound)
        if self.final_upper_bound_half_width:
            upper += f" ± {format_number(self.final_upper_bound_half_width)}"
        gap = self.final_gap
        return [
            ("lower bound", format_money(self.final_lower_bound)),
            ("upper bound (estimate)", upper),
            ("gap", "-" if gap is None else f"{100.0 * gap:.2f} %"),
            ("iterations", format_number(self.iterations)),
            ("ended by", self.termination_reason),
            ("cuts", format_number(self.total_cuts)),
            ("time", format_duration(self.elapsed_secs)),
        ]

    def __repr__(self) -> str:
        """Show the figures that matter."""
        return f"TrainingResult({', '.join(f'{name} {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return html_table("Training", ["", "value"], self._facts(), str(self.output_dir or ""))


def train(
    case: Case | PathLike,
    *,
    seed: int | None = None,
    config_overrides: Mapping[str, Any] | None = None,
    risk: Risk | None = None,
    root_risk: Risk | None = None,
    stopping: Sequence[StoppingRule] | None = None,
    num_workers: int = 1,
    backend: Backend = "auto",
    threads: int | None = None,
    restarts: int = 0,
    progress_callback: Callable[[ProgressEvent], object] | None = None,
    progress: Progress = "auto",
    output_dir: PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
) -> TrainingResult:
    """Train a policy for a case. What is ``None`` comes from the case's ``config.json``.

    The result does not depend on the number of threads or processes. Ctrl-C, and an exception of the
    callback, stop the training after the last complete iteration: what was earned is written to
    ``output_dir``, and the exception is raised. A process that is killed leaves its last checkpoint there.
    Both go on with ``resume``, and end with the bytes of a training that was never stopped.

    Workers are fresh Python processes on this machine, in which ``__main__`` is not imported: scripts need no
    guard. None of them outlives the training, however that ends.

    Args:
        case: A case, or the path of a case directory.
        seed: Seed of the forward passes.
        config_overrides: Merged over ``config.json``, e.g. ``{"training": {"forward_passes": 8}}``.
        risk: Measure of every stage's outcomes but the first's; see :class:`cobre.CVaR`.
        root_risk: Measure of the first stage's outcomes.
        stopping: Rules; training ends as soon as one holds.
        num_workers: Processes that share the work; with one, it is done in this process.
        backend: How they talk: ``"shm"`` (shared memory) or ``"tcp"``; ``"auto"`` is TCP when
            ``COBRE_TCP_COORDINATOR`` is set, else shared memory. One process may be called ``"local"``.
        threads: Threads of each process; by default the processes have all cores between them.
        restarts: How many times to go on from the last checkpoint when a worker was lost; needs
            ``output_dir``.
        progress_callback: Called with every event, in the calling thread; every worker tells each iteration.
        progress: Whether to show progress on stderr; ``"auto"`` does when that is a terminal.
        output_dir: Where to write the policy, the tables and checkpoints.
        checkpoint_every: Iterations between two checkpoints; when ``None``, ten, or as many more as keep the
            time that checkpoints take below a twentieth.
        resume: Go on from the checkpoint in ``output_dir``; begin when there is none. The case, the seed and
            the options must be those of the checkpoint, except for ``stopping`` and ``threads``.

    Raises:
        ValidationError: The case or an argument cannot be used, or the checkpoint is of another training.
        SolverError: A stage problem could not be solved.
        IOError: A file could not be written.
        WorkerError: A worker raised (``inner`` says what) or died; ``str`` shows how its stderr ended.
        TypeError: An argument has the wrong type.

    Examples:
        >>> import cobre
        >>> result = cobre.train(
        ...     cobre.example_case(), seed=1, stopping=[cobre.IterationLimit(3)], progress=False
        ... )
        >>> [record.iteration for record in result.convergence_history]
        [1, 2, 3]
    """
    rules = None if stopping is None else _rules(stopping)
    ranks = check_ranks(num_workers, backend, threads, restarts)
    options = {
        "seed": None if seed is None else check_seed(seed),
        "threads": ranks.threads,
        "risk": _risk_pair("risk", risk),
        "root_risk": _risk_pair("root_risk", root_risk),
        "stopping": rules,
        "output_dir": check_output(output_dir),
        "checkpoint_every": _interval(checkpoint_every),
        "resume": bool(resume),
    }
    native_case = as_case(case, config_overrides)
    with display(progress, time_limit=_time_limit(native_case, rules)) as screen:
        return _train_over(ranks, native_case, options, callback_of(screen, progress_callback))


def result_of(native: _core.TrainingResult) -> TrainingResult:
    """Make the public result of that of the compiled part."""
    return TrainingResult(
        policy=Policy(native.policy),
        convergence=Table(native.convergence),
        timings=Table(native.timings),
        termination_reason=native.termination_reason,
        seed=native.seed,
        threads=native.threads,
        output_dir=None if native.output_dir is None else Path(native.output_dir),
    )


def _train_over(
    ranks: Ranks, case: _core.Case, options: dict[str, Any], callback: _core.Callback | None
) -> TrainingResult:
    """Train here, or by several processes; after the loss of one it goes on from the last checkpoint."""
    if ranks.restarts and options["output_dir"] is None:
        expected = "0 without output_dir, where checkpoints are"
        raise refuse("restarts", ranks.restarts, expected, kind="IncompatibleSettings")
    if not ranks.are_processes:
        return result_of(_core.train(case, **options, callback=callback))
    before = _checkpoint_stamp(options["output_dir"])

    def go_on() -> dict[str, Any]:
        # A checkpoint that was there before this training began is none of it.
        is_own = _checkpoint_stamp(options["output_dir"]) != before
        return {**options, "resume": options["resume"] or is_own}

    outcome = run_ranks(
        "train", (case,), options, ranks, result_of=result_of, callback=callback, options_after_loss=go_on
    )
    return replace(outcome.result, workers=outcome.workers)


def _checkpoint_stamp(output_dir: Path | None) -> tuple[int, int] | None:
    """Return what changes when a checkpoint is written."""
    if output_dir is None:
        return None
    try:
        status = (output_dir / "training" / "checkpoint.bin").stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _time_limit(case: _core.Case, rules: list[_core.StoppingRule] | None) -> float | None:
    """Find out after how many seconds training will end, for the estimate of the time left."""
    if rules is not None:
        limits = [float(rule[1]) for rule in rules if rule[0] == "time_limit"]
    else:
        training = json.loads(case.config_json)["training"]
        found = [] if training.get("stopping_mode") == "all" else training["stopping_rules"]
        limits = [rule["seconds"] for rule in found if rule["type"] == "time_limit"]
    return min(limits, default=None)


def _risk_pair(argument: str, risk: Risk | None) -> _core.Risk | None:
    """Translate a measure of risk; the mean is a CVaR over all outcomes."""
    if risk is None:
        return None
    if isinstance(risk, Expectation):
        return (1.0, 0.0)
    if isinstance(risk, CVaR):
        return (float(risk.alpha), float(risk.weight))
    raise TypeError(f"{argument} must be cobre.Expectation() or cobre.CVaR(alpha, weight), not {risk!r}")


def _interval(checkpoint_every: int | None) -> int | None:
    return None if checkpoint_every is None else check_count("checkpoint_every", checkpoint_every)


def _rules(stopping: Sequence[StoppingRule]) -> list[_core.StoppingRule]:
    """Translate stopping rules."""
    if not isinstance(stopping, Iterable):
        raise TypeError(
            f"stopping must be a list of rules such as [cobre.IterationLimit(100)], not {stopping!r}"
        )
    rules = [_rule(rule) for rule in stopping]
    if not rules:
        raise refuse("stopping", stopping, "at least one rule, or None for the rules of the case")
    return rules


def _rule(rule: StoppingRule) -> _core.StoppingRule:
    if isinstance(rule, IterationLimit):
        return ("iteration_limit", int(rule.limit))
    if isinstance(rule, TimeLimit):
        return ("time_limit", float(rule.seconds))
    if isinstance(rule, BoundStalling):
        return ("bound_stalling", int(rule.iterations), float(rule.tolerance))
    raise TypeError(
        "a stopping rule must be cobre.IterationLimit(limit), cobre.TimeLimit(seconds) or "
        f"cobre.BoundStalling(iterations, tolerance), not {rule!r}"
    )
