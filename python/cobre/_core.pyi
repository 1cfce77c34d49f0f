"""The native part of Cobre. Not public: `cobre` wraps it."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Literal, TypeAlias, final

__version__: str

_Path: TypeAlias = str | PathLike[str]

# Directory, name, files that were there, contents of those that were read, overrides as JSON.
_CaseState: TypeAlias = tuple[_Path, str, list[str], dict[str, bytes], str | None]

Cell: TypeAlias = bool | int | float | str | None
"""One value of a table, as Python reads it."""

Callback: TypeAlias = Callable[[str, str, int, int, int | None, dict[str, float], float, int | None], object]
"""Takes `(system, phase, iteration, done, total, metrics, elapsed_secs, worker_id)` of a `ProgressEvent`.

Called in the thread that called `train` or `simulate`. An exception stops the job and is raised again.
"""

StallCallback: TypeAlias = Callable[[str, float, list[int]], object]
"""Takes `(operation, waited_secs, missing_ranks)` of a collective that waits for ranks that live but do not
come.

Called in the thread that called `train` or `simulate`. An exception stops the job and is raised again.
"""

Risk: TypeAlias = tuple[float, float]
"""`(alpha, weight)`: `(1 - weight) * mean + weight * CVaR_alpha`; `(1.0, 0.0)` is the mean."""

StoppingRule: TypeAlias = (
    tuple[Literal["iteration_limit"], int]
    | tuple[Literal["time_limit"], float]
    | tuple[Literal["bound_stalling"], int, float]
)
"""An iteration limit, a time limit in seconds, or a window of iterations and a relative tolerance."""

@final
class Table:
    """An immutable table; polars, pandas, pyarrow and duckdb read its Arrow C stream without copies."""

    @classmethod
    def from_arrow(cls, data: object) -> Table:
        """A table of anything that exposes `__arrow_c_stream__` or `__arrow_c_array__`."""

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Cell]]) -> Table:
        """A table of equally long columns, each of one type (`bool`, `int`, `float`, `str`) or `None`."""

    @classmethod
    def read_parquet(cls, path: _Path) -> Table:
        """Reads a Parquet file. Raises `IOError` (`OutputNotFound`, `OutputCorrupted`)."""

    def write_parquet(self, path: _Path) -> None:
        """Writes a Parquet file atomically, equal tables as equal bytes. Raises `IOError`."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""

    def column(self, name: str) -> list[Cell]:
        """The values of a column. Raises `KeyError`."""

    def to_pydict(self) -> dict[str, list[Cell]]:
        """All columns."""

    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __arrow_c_schema__(self) -> object: ...
    def __reduce__(self) -> tuple[Callable[[bytes], Table], tuple[bytes]]: ...

@final
class Case:
    """A hydrothermal case, read and validated.

    It holds the contents of its files; `pickle` and `copy` carry them and validate them again, without the
    directory.
    """

    @classmethod
    def load(cls, path: _Path, overrides_json: str | None = None) -> Case:
        """Reads a case directory; `overrides_json` is merged over `config.json`.

        Raises `ValidationError` with every problem of the input.
        """

    @property
    def name(self) -> str:
        """Name of the case."""

    @property
    def directory(self) -> str:
        """The directory it was read from."""

    @property
    def stages(self) -> int:
        """Number of stages."""

    @property
    def states(self) -> list[str]:
        """Names of the states, e.g. `storage:0`, in the order of cut coefficients."""

    @property
    def initial_state(self) -> dict[str, float]:
        """Value of each state before the first stage."""

    @property
    def summary(self) -> dict[str, int]:
        """Sizes: `stages`, `states`, `openings`, `rows`, `columns` (all stages), rows of input tables."""

    @property
    def config_json(self) -> str:
        """The effective configuration, overrides included, as JSON."""

    @property
    def is_training_enabled(self) -> bool:
        """True unless `training.enabled` is false; `train` refuses such a case."""

    @property
    def is_simulation_enabled(self) -> bool:
        """True when the configuration asks for a simulation after the training."""

    @property
    def problem_sha256(self) -> str:
        """Fingerprint of the optimisation problem: equal problems have equal ones."""

    def tables(self) -> dict[str, Table]:
        """The system as tables."""

    def with_overrides(self, overrides_json: str | None = None) -> Case:
        """The case of the same files, as they were read, with these overrides alone.

        Raises `ValidationError`.
        """

    @classmethod
    def _restore(cls, state: _CaseState, /) -> Case: ...
    def __reduce__(self) -> tuple[Callable[[_CaseState], Case], tuple[_CaseState]]: ...

@final
class Policy:
    """Cuts of every stage; `pickle` and `copy` work."""

    @classmethod
    def load(cls, path: _Path) -> Policy:
        """Reads `OUT/policy`. Raises `IOError` (`OutputNotFound`, `OutputCorrupted`)."""

    def save(self, path: _Path) -> None:
        """Writes a policy directory, replacing an older policy there. Raises `IOError`."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Policy:
        """The policy of `to_bytes`. Raises `IOError` (`OutputCorrupted`)."""

    def to_bytes(self) -> bytes:
        """The policy as bytes; equal policies give equal bytes."""

    @property
    def states(self) -> list[str]:
        """Names of the states, in the order of cut coefficients."""

    @property
    def initial_state(self) -> dict[str, float]:
        """Value of each state before the first stage."""

    @property
    def stages(self) -> int:
        """Number of stages."""

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes; in a case node `t` is stage `t`."""

    @property
    def iterations(self) -> int:
        """Iterations that made the policy."""

    @property
    def lower_bound(self) -> float:
        """Certified lower bound on the optimal cost, in $; minus infinity before the first iteration."""

    @property
    def total_cuts(self) -> int:
        """Cuts of all stages, active or not."""

    @property
    def seed(self) -> int | None:
        """Seed of the training."""

    @property
    def problem_sha256(self) -> str | None:
        """Fingerprint of the problem the policy was trained on."""

    def value(self, stage: int | str, state: Mapping[str, float] | Sequence[float]) -> float:
        """Cost-to-go after a stage (index, negative from the end, or node name) that ends in a state, in $.

        Raises `ValidationError` (`MissingReference`, `CoverageMismatch`).
        """

    def cuts(self, stage: int | str | None = None) -> Table:
        """The cuts of a stage, or all.

        Columns `node`, `stage`, `cut_id`, `iteration`, `path`, `is_active`, `intercept`,
        and a coefficient per state under its name: θ ≥ intercept + Σ coefficient · state, undiscounted.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> tuple[Callable[[bytes], Policy], tuple[bytes]]: ...

@final
class TrainingResult:
    """A training that ended by a stopping rule."""

    @property
    def policy(self) -> Policy:
        """The policy."""

    @property
    def iterations(self) -> int:
        """Iterations done."""

    @property
    def final_lower_bound(self) -> float:
        """Certified lower bound on the optimal cost, in $."""

    @property
    def final_upper_bound(self) -> float:
        """Mean cost of the last iteration's forward paths, in $."""

    @property
    def final_upper_bound_half_width(self) -> float:
        """Half width of its 95 % confidence interval, in $; NaN for one path of a random problem."""

    @property
    def final_gap(self) -> float:
        """`(upper - lower) / max(1, |upper|)`; NaN when a risk measure is not the mean."""

    @property
    def termination_reason(self) -> str:
        """`iteration_limit`, `time_limit`, `bound_stalling` or `interrupted`."""

    @property
    def total_cuts(self) -> int:
        """Cuts of all stages, active or not."""

    @property
    def active_cuts(self) -> int:
        """Active cuts of all stages."""

    @property
    def seed(self) -> int:
        """Seed of the forward passes."""

    @property
    def threads(self) -> int:
        """Threads used."""

    @property
    def backend(self) -> str | None:
        """`shm` or `tcp` when the job was given a backend."""

    @property
    def rank(self) -> int:
        """This process's rank; 0 in a job of one process."""

    @property
    def solves(self) -> int:
        """Linear programs that this process solved."""

    @property
    def pivots(self) -> int:
        """Simplex iterations of this process."""

    @property
    def recoveries(self) -> int:
        """Solves of this process that needed more than the first attempt."""

    @property
    def elapsed_secs(self) -> float:
        """Seconds from the first iteration's start to the last one's end."""

    @property
    def output_dir(self) -> str | None:
        """Where the files are, when a directory was given."""

    @property
    def convergence(self) -> Table:
        """One row per iteration, the same for any number of threads.

        Columns `iteration`, `lower_bound`, `upper_bound`,
        `upper_bound_std`, `upper_bound_half_width`, `gap`, `cuts_added`, `cuts_dropped`, `cuts_active`,
        `stage_solves`, `pivots`, `recoveries`.
        """

    @property
    def timings(self) -> Table:
        """One row per iteration: `iteration`, `elapsed_secs` since the start, `iteration_time_ms`."""

@final
class SimulationResult:
    """A complete simulation."""

    @property
    def scenarios(self) -> int:
        """Number of scenarios."""

    @property
    def mean_cost(self) -> float:
        """Mean of the discounted costs, in $."""

    @property
    def std_cost(self) -> float:
        """Standard deviation of the discounted costs (n - 1), in $."""

    @property
    def half_width(self) -> float:
        """Half width of the mean's 95 % confidence interval, in $."""

    @property
    def costs(self) -> list[float]:
        """Discounted cost of each scenario, in $, in scenario order."""

    @property
    def seed(self) -> int:
        """Seed of the scenarios."""

    @property
    def threads(self) -> int:
        """Threads used."""

    @property
    def backend(self) -> str | None:
        """`shm` or `tcp` when the job was given a backend."""

    @property
    def rank(self) -> int:
        """This process's rank; 0 in a job of one process."""

    @property
    def solves(self) -> int:
        """Linear programs that this process solved."""

    @property
    def pivots(self) -> int:
        """Simplex iterations of this process."""

    @property
    def recoveries(self) -> int:
        """Solves of this process that needed more than the first attempt."""

    @property
    def output_dir(self) -> str | None:
        """Where the files are, when a directory was given."""

    @property
    def table_names(self) -> list[str]:
        """Names of the result tables."""

    def table(self, name: str) -> Table:
        """A result table, read from its file when a directory was given. Raises `KeyError`."""

@final
class Backend:
    """How one of several processes finds the others; each calls `train` or `simulate` with its own.

    A backend serves one job: a second one raises `CobreError` (`IncompatibleSettings`). No variable of the
    environment is read, except for `COBRE_COMM_LIFELINE`.

    When the job begins the ranks wait `connect_timeout_secs` (30 by default) for each other; after it
    `IOError` (`BackendFailure`) names who did not come. Later a rank that dies is noticed at once
    (`WorkerError`), and one that lives but does not come is waited for: `on_stall` is told every
    `stall_notice_secs` (60 by default), and `timeout_secs` makes it an error (`IOError`).
    """

    @staticmethod
    def shm(
        descriptor: int,
        rank: int,
        size: int,
        *,
        timeout_secs: float | None = None,
        stall_notice_secs: float | None = None,
        connect_timeout_secs: float | None = None,
    ) -> Backend:
        """Ranks of one machine over a memory file that all of them inherited.

        The parent makes it with `os.memfd_create(name, os.MFD_CLOEXEC)`, leaves it empty (rank 0 sizes it)
        and hands it down with `pass_fds`. It serves one job. The descriptor stays the caller's, who may close
        it once the job has begun: it is opened anew.
        """

    @staticmethod
    def tcp(
        coordinator: str,
        rank: int,
        size: int,
        token: str,
        *,
        listener: int | None = None,
        timeout_secs: float | None = None,
        stall_notice_secs: float | None = None,
        connect_timeout_secs: float | None = None,
    ) -> Backend:
        """Ranks over TCP; `coordinator` is rank 0's `host:port` or `[address]:port`.

        The token is the job's secret, 32 hexadecimal digits, e.g. of `secrets.token_hex(16)`. `listener` is,
        for rank 0, the descriptor of a socket that listens already; it is given up (`socket.detach()`) and
        closed when the ranks have met, or with the backend.
        """

@final
class CancelToken:
    """Stops jobs from any thread, as Ctrl-C does but without an exception of its own.

    A training then returns, on every rank, what it had learned (`interrupted`); a simulation raises
    `CobreError` (`Cancelled`). An exception that ends a job cancels its token too.
    """

    def __new__(cls) -> CancelToken: ...
    def cancel(self) -> None:
        """Asks the jobs to stop; never undone."""

    @property
    def is_cancelled(self) -> bool:
        """True once `cancel` was called."""

def train(
    case: Case,
    *,
    seed: int | None = None,
    threads: int | None = None,
    risk: Risk | None = None,
    root_risk: Risk | None = None,
    stopping: Sequence[StoppingRule] | None = None,
    stopping_mode: Literal["any", "all"] = "any",
    output_dir: _Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    callback: Callback | None = None,
    backend: Backend | None = None,
    cancel: CancelToken | None = None,
    on_stall: StallCallback | None = None,
) -> TrainingResult:
    """Trains a policy. What is `None` comes from the case's configuration; `threads` is all cores then.

    Checkpoints go to `output_dir` every so many iterations, or as often as costs little; `resume` goes on
    from the one that is there.

    Ctrl-C and exceptions of the callback stop the job after the last complete iteration, whose results are
    written to `output_dir` all the same, and are raised.

    With a `backend` this process is one rank of a job: all ranks give the same arguments, only rank 0 writes
    files, and all return the policy.
    """

def simulate(
    case: Case,
    policy: Policy,
    *,
    scenarios: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    output_dir: _Path | None = None,
    callback: Callback | None = None,
    backend: Backend | None = None,
    cancel: CancelToken | None = None,
    on_stall: StallCallback | None = None,
) -> SimulationResult:
    """Simulates a policy. As `train`; an interrupted simulation writes nothing.

    Of several ranks all return the costs and rank 0 alone the tables.
    """

def watch_lifeline(descriptor: int) -> None:
    """Has this process end, with exit code 5, when the last writing end of a pipe is closed.

    `descriptor` is the pipe's reading end, which the parent hands down with `pass_fds`; it stays the
    caller's. The watch is a native thread: it sees the parent's death whatever Python does. The process must
    not hold a writing end, and a second call does nothing. Raises `IOError` (`BackendFailure`) for a
    descriptor that is no pipe.
    """

def available_threads() -> int:
    """Number of threads that may run at once, by the affinity mask and the processor quota of the cgroup."""
