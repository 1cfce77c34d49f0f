"""Simulation of policies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from cobre import _outputs
from cobre._distributed import run_ranks
from cobre._native import _core
from cobre._options import check_count, check_output, check_seed
from cobre._text import format_money, format_number, html_table
from cobre.case import Case, as_case
from cobre.policy import Policy, as_policy
from cobre.progress import Progress, callback_of, display
from cobre.tables import PathLike, Table
from cobre.workers import Backend, WorkerInfo, check_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr

    from cobre.events import ProgressEvent

__all__ = ["SimulationResult", "simulate"]


class _Source(Protocol):
    """Where a result's tables come from."""

    def table(self, name: str) -> _core.Table:
        """Return a table that exists."""
        ...


@dataclass(frozen=True)
class _Files:
    """Tables that are read from files when they are asked for."""

    directory: Path

    def table(self, name: str) -> _core.Table:
        return _core.Table.read_parquet(self.directory / f"{name}.parquet")


@dataclass(frozen=True)
class _Memory:
    """Tables held in memory: what a result without files is pickled as."""

    tables: dict[str, _core.Table]

    def table(self, name: str) -> _core.Table:
        return self.tables[name]


@dataclass(frozen=True)
class SimulationResult:
    """A simulation: costs of all scenarios, and tables of what was done in them.

    Results can be pickled, and read again from the output directory with :meth:`load`.
    """

    scenarios: int
    """Number of scenarios."""
    mean_cost: float
    """Mean of the discounted costs, in $."""
    std_cost: float | None
    """Standard deviation of the discounted costs (n - 1), in $; ``None`` for a single scenario."""
    half_width: float | None
    """Half width of the 95 % confidence interval of the mean, in $; ``None`` for a single scenario."""
    costs: tuple[float, ...] = field(repr=False)
    """Discounted cost of each scenario, in $, in scenario order."""
    seed: int | None
    """Seed of the scenarios."""
    table_names: tuple[str, ...]
    """Names of the tables that :meth:`table` returns."""
    threads: int | None = field(default=None, compare=False)
    """Threads used."""
    output_dir: Path | None = field(default=None, compare=False)
    """Where the files are, when a directory was given."""
    workers: list[WorkerInfo] | None = field(default=None, repr=False, compare=False)
    """What each process did, by rank; ``None`` for a simulation in one process, and for a loaded one."""
    _source: _Source = field(default_factory=lambda: _Memory({}), repr=False, compare=False)

    @classmethod
    def load(cls, path: PathLike) -> SimulationResult:
        """Read a simulation from its output directory.

        Raises:
            IOError: It holds none, or its files are damaged.
        """
        directory = Path(path)
        run = _outputs.read_run(directory, "simulation")
        source = _Files(directory / "simulation")
        costs = Table(source.table("scenarios")).column("cost")
        return cls(
            scenarios=run["options"]["scenarios"],
            mean_cost=run["mean_cost"],
            std_cost=run["std_cost"],
            half_width=run["half_width"],
            costs=tuple(cast("list[float]", costs)),
            seed=run["options"]["seed"],
            table_names=tuple(run["tables"]),
            threads=run["options"]["threads"],
            output_dir=directory,
            _source=source,
        )

    def table(self, name: str) -> Table:
        """Return a table of :attr:`table_names`, read from its file when there is an output directory.

        Raises:
            KeyError: There is no table of that name.
            IOError: Its file is gone or damaged.
        """
        if name not in self.table_names:
            raise KeyError(f"no table {name!r}; the simulation has: {', '.join(self.table_names)}")
        return Table(self._source.table(name))

    def to_xarray(self) -> xr.Dataset:
        """Return all tables as one ``xarray.Dataset``; needs xarray.

        Scenario, stage, block and entity are dimensions with the ids as coordinates; a variable is called
        after its table and its column, e.g. ``hydros_storage_final_hm3``.

        Raises:
            ImportError: xarray is not installed.
        """
        from cobre._xarray import dataset_of  # noqa: PLC0415 - needs an optional library

        return dataset_of({name: self.table(name) for name in self.table_names})

    def __getstate__(self) -> dict[str, Any]:
        """Pickle tables by their files when there are some, by value otherwise."""
        state = dict(self.__dict__)
        if not isinstance(self._source, (_Files, _Memory)):
            if self.output_dir is None:
                state["_source"] = _Memory({name: self._source.table(name) for name in self.table_names})
            else:
                state["_source"] = _Files(self.output_dir / "simulation")
        return state

    def _facts(self) -> list[tuple[str, str]]:
        mean = format_money(self.mean_cost)
        if self.half_width:
            mean += f" ± {format_number(self.half_width)} (95 %)"
        return [
            ("mean cost", mean),
            ("standard deviation", format_money(self.std_cost)),
            ("scenarios", format_number(self.scenarios)),
        ]

    def __repr__(self) -> str:
        """Show the figures that matter."""
        return f"SimulationResult({', '.join(f'{name} {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        note = f"tables: {', '.join(self.table_names)}"
        return html_table("Simulation", ["", "value"], self._facts(), note)


def simulate(
    case: Case | PathLike,
    policy: Policy | PathLike,
    *,
    scenarios: int | None = None,
    seed: int | None = None,
    config_overrides: Mapping[str, Any] | None = None,
    num_workers: int = 1,
    backend: Backend = "auto",
    threads: int | None = None,
    restarts: int = 0,
    progress_callback: Callable[[ProgressEvent], object] | None = None,
    progress: Progress = "auto",
    output_dir: PathLike | None = None,
) -> SimulationResult:
    """Simulate a policy. What is ``None`` comes from the case's ``config.json``.

    The result does not depend on the number of threads or processes. Ctrl-C, and an exception of the
    callback, stop the simulation; an interrupted one writes nothing. About workers see :func:`cobre.train`.

    Args:
        case: A case, or the path of a case directory.
        policy: A policy, or the path of one.
        scenarios: Number of scenarios.
        seed: Seed of the scenarios.
        config_overrides: Merged over ``config.json``.
        num_workers: Processes that share the scenarios; with one, they are simulated in this process.
        backend: How they talk: ``"shm"`` (shared memory) or ``"tcp"``; ``"auto"`` is TCP when
            ``COBRE_TCP_COORDINATOR`` is set, else shared memory. One process may be called ``"local"``.
        threads: Threads of each process; by default the processes have all cores between them.
        restarts: How many times to begin again when a worker was lost.
        progress_callback: Called with every event, in the calling thread.
        progress: Whether to show progress on stderr; ``"auto"`` does when that is a terminal.
        output_dir: Where to write the tables.

    Raises:
        ValidationError: The case or an argument cannot be used, or case and policy do not belong together.
        SolverError: A stage problem could not be solved.
        IOError: A file could not be read or written.
        WorkerError: A worker raised (``inner`` says what) or died.
        TypeError: An argument has the wrong type.

    Examples:
        >>> import cobre
        >>> case = cobre.Case.load(cobre.example_case())
        >>> policy = cobre.train(case, stopping=[cobre.IterationLimit(2)], progress=False).policy
        >>> cobre.simulate(case, policy, scenarios=10, seed=7, progress=False).scenarios
        10
    """
    ranks = check_ranks(num_workers, backend, threads, restarts)
    options: dict[str, Any] = {
        "scenarios": None if scenarios is None else check_count("scenarios", scenarios),
        "seed": None if seed is None else check_seed(seed),
        "threads": ranks.threads,
        "output_dir": check_output(output_dir),
    }
    arguments = (as_case(case, config_overrides), as_policy(policy))
    with display(progress) as screen:
        callback = callback_of(screen, progress_callback)
        if not ranks.are_processes:
            return result_of(_core.simulate(*arguments, **options, callback=callback))
        outcome = run_ranks("simulate", arguments, options, ranks, result_of=result_of, callback=callback)
        return replace(outcome.result, workers=outcome.workers)


def result_of(native: _core.SimulationResult) -> SimulationResult:
    """Make the public result of that of the compiled part."""
    return SimulationResult(
        scenarios=native.scenarios,
        mean_cost=native.mean_cost,
        std_cost=_defined(native.std_cost),
        half_width=_defined(native.half_width),
        costs=tuple(native.costs),
        seed=native.seed,
        table_names=tuple(native.table_names),
        threads=native.threads,
        output_dir=None if native.output_dir is None else Path(native.output_dir),
        _source=native,
    )


def _defined(figure: float) -> float | None:
    """Return ``None`` for a figure that is not a number (NaN)."""
    return figure if figure == figure else None  # noqa: PLR0124
