"""How many processes share a job, and what each of them did."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from cobre._native import _core
from cobre._options import check_count
from cobre.errors import Problem, ValidationError

__all__ = ["Backend", "Ranks", "WorkerInfo", "check_ranks"]

Backend: TypeAlias = Literal["auto", "local", "shm", "tcp"]
"""How processes talk: over shared memory or TCP; ``"local"`` is one process, ``"auto"`` chooses."""

_WORDS: Final = ("auto", "local", "shm", "tcp")
_COORDINATOR: Final = "COBRE_TCP_COORDINATOR"


@dataclass(frozen=True)
class WorkerInfo:
    """What one process of a job did.

    Results do not depend on any of this.
    """

    rank: int
    """0-based number of the process."""
    backend: str
    """``shm`` or ``tcp``."""
    wall_time_ms: float
    """Time from the beginning of the job to its end, in milliseconds, without the start of the process."""
    threads: int
    """Threads used."""
    peak_memory_bytes: int
    """The most memory that was resident at one time."""
    solves: int
    """Linear programs solved."""
    pivots: int
    """Simplex iterations."""
    recoveries: int
    """Solves that needed more than the first attempt."""


@dataclass(frozen=True)
class Ranks:
    """The processes that share a job."""

    size: int
    """Number of processes; with one, the job runs in the caller's."""
    backend: Literal["local", "shm", "tcp"]
    threads: int | None
    """Threads of each; ``None`` leaves the choice to a job of one process."""
    restarts: int
    """How many times a job that lost a process begins again."""

    @property
    def are_processes(self) -> bool:
        """Tell whether other processes do the work."""
        return self.size > 1


def check_ranks(num_workers: object, backend: object, threads: object, restarts: object) -> Ranks:
    """Check what a caller says about processes, and fill in what was left open.

    Raises:
        TypeError: A number is none.
        ValidationError: A number is too small (``OutOfRange``), there is no such backend, it does not go with
            the number of workers, or this program forks its processes (``IncompatibleSettings``).
    """
    size = check_count("num_workers", num_workers)
    times = check_count("restarts", restarts, least=0)
    per_worker = None if threads is None else check_count("threads", threads)
    if backend not in _WORDS:
        advice = "cobre-mpi under mpirun runs over MPI" if backend == "mpi" else None
        raise _incompatible("backend", backend, f"one of {', '.join(_WORDS)}", advice)
    if size == 1:
        return Ranks(1, "local", per_worker, times)
    if backend == "local":
        advice = "leave backend out, or use num_workers=1"
        raise _incompatible("backend", backend, f"shm or tcp for {size} workers", advice)
    if multiprocessing.get_start_method(allow_none=True) == "fork":
        raise _incompatible(
            "num_workers",
            size,
            "1 in a program whose processes are forked: a fork copies locks that nobody will release",
            'call multiprocessing.set_start_method("spawn", force=True) first',
        )
    word = backend if backend != "auto" else "tcp" if os.environ.get(_COORDINATOR) else "shm"
    cores = _core.available_threads()
    if per_worker is not None and per_worker > 1 and size * per_worker > cores:
        message = (
            f"{size} workers of {per_worker} threads each share {cores} cores and will wait for each other; "
            f"threads={max(1, cores // size)} uses every core once"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    return Ranks(size, cast("Literal['shm', 'tcp']", word), per_worker or max(1, cores // size), times)


def _incompatible(argument: str, value: object, expected: str, suggestion: str | None) -> ValidationError:
    kind = "IncompatibleSettings"
    problem = Problem("", field=argument, value=repr(value), expected=expected, kind=kind)
    return ValidationError("an argument cannot be used", kind=kind, problems=[problem], suggestion=suggestion)
