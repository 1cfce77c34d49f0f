"""Training and simulation by several processes of this machine.

This process reads the case, starts the ranks and takes their events and results; it computes nothing itself.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast

from cobre._native import _core
from cobre._options import refuse
from cobre.errors import IOError, Problem, ValidationError, WorkerError
from cobre.runtime.crew import STOP_SECS, run_job
from cobre.runtime.process import thread_limits
from cobre.workers import WorkerInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cobre.runtime._worker import Worker
    from cobre.workers import Ranks

__all__ = ["Outcome", "run_ranks"]

_logger = logging.getLogger(__name__)

# Longer than any policy takes to be written: only a disk that hangs is not waited for.
_SAVE_SECS: Final = 60.0


Result = TypeVar("Result")


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of a job find each other."""

    backend: Literal["shm", "tcp"]
    descriptor: int
    """Of the memory file of all ranks, or of rank 0's listening socket."""
    coordinator: str
    """Address of that socket."""
    token: str
    """Secret of the job."""
    timeout_secs: float | None

    def backend_of(self, rank: int, size: int) -> _core.Backend:
        """Make a rank's end of the communication."""
        if self.backend == "shm":
            return _core.Backend.shm(self.descriptor, rank, size, timeout_secs=self.timeout_secs)
        return _core.Backend.tcp(
            self.coordinator,
            rank,
            size,
            self.token,
            listener=self.descriptor if rank == 0 else None,
            timeout_secs=self.timeout_secs,
        )

    def inherited(self, rank: int) -> tuple[int, ...]:
        """Return the descriptors that a rank needs."""
        return (self.descriptor,) if self.backend == "shm" or rank == 0 else ()


@dataclass(frozen=True)
class RankJob:
    """What every rank is told."""

    system: Literal["train", "simulate"]
    arguments: tuple[object, ...]
    options: Mapping[str, Any]
    meeting: Meeting
    sends_events: bool
    result_of: Callable[[Any], object]
    """Makes the result that rank 0 sends back of what the compiled part returns."""


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What came of a job."""

    result: Result
    workers: list[WorkerInfo]


def run_ranks(
    system: Literal["train", "simulate"],
    arguments: tuple[object, ...],
    options: Mapping[str, Any],
    ranks: Ranks,
    *,
    result_of: Callable[[Any], Result],
    callback: Callable[..., object] | None,
    options_after_loss: Callable[[], Mapping[str, Any]] | None = None,
) -> Outcome[Result]:
    """Run a job of the compiled part over processes, again as often as the ranks may restart.

    Args:
        system: The function: ``train`` or ``simulate``.
        arguments: Its positional arguments.
        options: Its options.
        ranks: The processes.
        result_of: Makes of rank 0's native result one that can be pickled; a function of a module.
        callback: Takes the fields of every event.
        options_after_loss: Makes the options with which the job begins again; by default those it had.

    Raises:
        WorkerError: A rank raised or died.
        IOError: The ranks could not be started (``BackendFailure``).
    """
    restarts = 0
    while True:
        try:
            return _run_once(system, arguments, options, ranks, result_of=result_of, callback=callback)
        except WorkerError as error:
            if error.inner is not None or restarts == ranks.restarts:
                raise
            restarts += 1
            _logger.warning("%s; restart %d of %d", error.message, restarts, ranks.restarts)
        if options_after_loss is not None:
            options = options_after_loss()


def _run_once(
    system: Literal["train", "simulate"],
    arguments: tuple[object, ...],
    options: Mapping[str, Any],
    ranks: Ranks,
    *,
    result_of: Callable[[Any], Result],
    callback: Callable[..., object] | None,
) -> Outcome[Result]:
    def deliver(_rank: int, fields: object) -> None:
        if callback is not None:
            callback(*cast("tuple[object, ...]", fields))

    with _meeting(ranks) as meeting:
        job = RankJob(system, arguments, options, meeting, callback is not None, result_of)
        reports = run_job(
            f"{__name__}:run_rank",
            job,
            size=ranks.size,
            inherited=[meeting.inherited(rank) for rank in range(ranks.size)],
            environment=thread_limits(ranks.threads or 1),
            stop_secs=STOP_SECS if options.get("output_dir") is None else _SAVE_SECS,
            on_event=deliver,
        )
    results, workers = zip(*cast("list[tuple[object, WorkerInfo]]", reports), strict=True)
    return Outcome(cast("Result", results[0]), list(workers))


def run_rank(worker: Worker, job: RankJob) -> tuple[object, WorkerInfo]:
    """Do one rank's part of a job, in its process."""
    cancel = _core.CancelToken()
    worker.on_stop(cancel.cancel)
    began = time.perf_counter()

    def tell(*fields: object) -> None:
        worker.emit(fields)

    native = getattr(_core, job.system)(
        *job.arguments,
        **job.options,
        backend=job.meeting.backend_of(worker.rank, worker.size),
        cancel=cancel,
        callback=tell if job.sends_events else None,
        on_stall=_report_stall,
    )
    info = WorkerInfo(
        rank=worker.rank,
        backend=job.meeting.backend,
        wall_time_ms=1000.0 * (time.perf_counter() - began),
        threads=native.threads,
        peak_memory_bytes=_peak_memory(),
        solves=native.solves,
        pivots=native.pivots,
        recoveries=native.recoveries,
    )
    return (job.result_of(native) if worker.rank == 0 else None), info


def _report_stall(operation: str, waited_secs: float, missing: list[int]) -> None:
    ranks = ", ".join(map(str, missing))
    _logger.warning("%s has waited %.0f s for rank %s, which is alive", operation, waited_secs, ranks)


def _peak_memory() -> int:
    """Return the most memory this process ever had; ``getrusage`` would count what it was forked from."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return 1024 * int(value.split()[0])
    return 0


@contextlib.contextmanager
def _meeting(ranks: Ranks) -> Iterator[Meeting]:
    """Open what the ranks talk over; they inherit it."""
    timeout = _timeout(f"COBRE_{ranks.backend.upper()}_TIMEOUT_SECS")
    if ranks.backend == "shm":
        descriptor = os.memfd_create("cobre-shm", os.MFD_CLOEXEC)
        try:
            yield Meeting("shm", descriptor, "", "", timeout)
        finally:
            os.close(descriptor)
        return
    with _listener() as listener:
        host, port = listener.getsockname()[:2]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        yield Meeting("tcp", listener.fileno(), place, secrets.token_hex(16), timeout)


def _listener() -> socket.socket:
    """Listen on this machine alone: where the user says, or on a free port."""
    name = "COBRE_TCP_COORDINATOR"
    host, port = _address(name, os.environ.get(name) or "127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise IOError(
            f"the ranks have no place to meet: {error}",
            kind="BackendFailure",
            context={"address": host, "port": port},
            suggestion=f"another job may use the port; without a port in {name} a free one is chosen",
        ) from error


def _address(name: str, text: str) -> tuple[str, int]:
    """Take ``host``, ``host:port`` or ``[address]:port`` apart; the host must be this machine's loopback."""
    host, _, port = text.partition("]:") if text.startswith("[") else text.rpartition(":")
    if text.count(":") != 1 and not text.startswith("["):
        host, port = text, ""
    host = host.strip("[]")
    if port and not (port.isdecimal() and int(port) < 1 << 16):
        raise refuse(name, text, "host, host:port or [address]:port")
    address = "127.0.0.1" if host == "localhost" else host
    try:
        is_local = ipaddress.ip_address(address).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        expected = "an address of this machine alone: localhost, 127.0.0.1 or [::1]"
        kind = "IncompatibleSettings"
        problem = Problem("", field=name, value=repr(text), expected=expected, kind=kind)
        raise ValidationError(
            "an environment variable cannot be used",
            kind=kind,
            problems=[problem],
            suggestion="num_workers starts processes on this machine; the program cobre-mpi runs on several",
        )
    return address, int(port or 0)


def _timeout(name: str) -> float | None:
    """Read after how many seconds ranks that live but do not come are an error."""
    text = os.environ.get(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise refuse(name, text, "a number of seconds above zero")
    return seconds
