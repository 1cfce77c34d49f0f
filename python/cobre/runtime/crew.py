"""Workers that run one job together: all of them end, or none counts."""

from __future__ import annotations

import logging
import select
import time
from typing import TYPE_CHECKING, Final, Self

from cobre.runtime._wire import Happened, Raised, Returned
from cobre.runtime.failure import Failure, worker_error
from cobre.runtime.process import Payload, WorkerProcess, end_all, signals_held

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["run_job"]

STOP_SECS: Final = 0.5
"""How long workers that were asked to stop may take."""

# Time for the cause of a failure to arrive after its consequences.
_DRAIN_SECS: Final = 0.25
# Time for a process to end after it has handed over its result.
_LEAVE_SECS: Final = 5.0
# A signal whose handler another thread was chosen for is noticed this late.
_PULSE_SECS: Final = 0.1

_logger = logging.getLogger(__name__)


def run_job(
    function: str,
    value: object,
    *,
    size: int,
    inherited: Sequence[Sequence[int]] | None = None,
    environment: Mapping[str, str] | None = None,
    stop_secs: float = STOP_SECS,
    on_event: Callable[[int, object], object] | None = None,
) -> list[object]:
    """Run a function in several processes at once and return what each returned, by rank.

    An exception of ``on_event``, or one that a signal raises, stops the job and is raised when every process
    has ended; a second one does not wait for that.

    Args:
        function: ``module:function``, importable in a worker; it is called with a
            :class:`~cobre.runtime._worker.Worker` and the value.
        value: What every worker gets; it is pickled once.
        size: Number of processes.
        inherited: Descriptors that each worker shall have, by rank.
        environment: Variables to set in the workers.
        stop_secs: How long workers that were asked to stop may take to write what they have.
        on_event: Called in this thread with rank and event, in the order of events of each worker.

    Raises:
        WorkerError: A worker raised or died.
        IOError: A process could not be started (``BackendFailure``).
    """
    payload = Payload(value)
    crew = _Crew(size)
    try:
        crew.start(function, payload, inherited or [()] * size, environment)
        try:
            crew.watch(on_event)
        except BaseException:
            crew.stop(stop_secs)
            raise
        failures = crew.failures()
    finally:
        end_all(crew.processes)
        payload.close()
    crew.report_stderr()
    if failures:
        raise worker_error(failures)
    return crew.results


class _Crew:
    """The processes of one job and what has come of them."""

    def __init__(self, size: int) -> None:
        self.processes: list[WorkerProcess] = []
        self.results: list[object] = [None] * size
        self._outcomes: dict[int, Returned | Raised] = {}
        self._failed: list[WorkerProcess] = []

    def start(
        self,
        function: str,
        payload: Payload,
        inherited: Sequence[Sequence[int]],
        environment: Mapping[str, str] | None,
    ) -> None:
        """Start all processes and give them their task."""
        for rank, own in enumerate(inherited):
            with signals_held():
                process = WorkerProcess(
                    rank, len(inherited), inherited=(payload.descriptor, *own), environment=environment
                )
                self.processes.append(process)
            process.give(function, payload)

    def watch(self, on_event: Callable[[int, object], object] | None) -> None:
        """Take what the workers send until all have ended, or some time after the first failure."""
        deadline = None
        with _Ears(self.processes) as ears:
            while ears.open and (deadline is None or time.monotonic() < deadline):
                for process in ears.heard():
                    # Asked before the pipes are read: what a process sent before its end is there by then.
                    has_ended = process.exit_code is not None
                    self._take(process, on_event)
                    if has_ended and process.is_drained:
                        ears.close(process)
                        if process.rank not in self._outcomes:
                            self._failed.append(process)
                if deadline is None and self._failed:
                    deadline = time.monotonic() + _DRAIN_SECS
                elif deadline is None and len(self._outcomes) == len(self.processes):
                    deadline = time.monotonic() + _LEAVE_SECS

    def stop(self, seconds: float) -> None:
        """Ask the workers to end and give them some time for it; what they still send interests nobody."""
        for process in self.processes:
            process.ask_to_stop()
        deadline = time.monotonic() + seconds
        with _Ears(self.processes) as ears:
            while ears.open and time.monotonic() < deadline:
                for process in ears.heard():
                    has_ended = process.exit_code is not None
                    process.discard_messages()
                    if has_ended and process.is_drained:
                        ears.close(process)

    def failures(self) -> list[Failure]:
        """Describe every worker that failed, in the order in which they did."""
        return [self._failure(process) for process in self._failed]

    def report_stderr(self) -> None:
        """Pass on what workers without a failure wrote to stderr: warnings, mostly."""
        for process in self.processes:
            if process not in self._failed and process.stderr_tail:
                _logger.warning("[rank %d] stderr:\n%s", process.rank, process.stderr_tail.rstrip())

    def _take(self, process: WorkerProcess, on_event: Callable[[int, object], object] | None) -> None:
        for message in process.messages():
            if isinstance(message, Happened):
                if on_event is not None:
                    on_event(process.rank, message.event)
            elif isinstance(message, Returned):
                self._outcomes[process.rank] = message
                self.results[process.rank] = process.result(message)
            elif isinstance(message, Raised):
                self._outcomes[process.rank] = message
                self._failed.append(process)

    def _failure(self, process: WorkerProcess) -> Failure:
        outcome = self._outcomes.get(process.rank)
        raised = outcome if isinstance(outcome, Raised) else None
        return Failure(process.rank, process.exit_code, raised, process.stderr_tail)


class _Ears:
    """Waits for whichever process has something to say.

    It hears every change once: a pipe whose other end is closed does not keep it awake.
    """

    def __init__(self, processes: Sequence[WorkerProcess]) -> None:
        self.open = set(processes)
        self._owners = {
            descriptor: process
            for process in processes
            for descriptor in (process.wire.fileno(), process.stderr, process.sentinel)
        }
        self._poll = select.epoll()
        for descriptor in self._owners:
            self._poll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()

    def heard(self) -> set[WorkerProcess]:
        """Return the processes whose pipes are to be read; wait a moment when there are none."""
        unread = {process for process in self.open if not process.is_drained}
        found = self._poll.poll(0.0 if unread else _PULSE_SECS)
        return unread | {self._owners[descriptor] for descriptor, _ in found} & self.open

    def close(self, process: WorkerProcess) -> None:
        """Listen no longer to a process that has ended."""
        self.open.discard(process)
