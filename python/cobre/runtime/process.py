"""One worker process with its pipes, as its parent sees it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cobre
from cobre.errors import IOError
from cobre.runtime._wire import (
    CHUNK,
    CHUNKS_AT_ONCE,
    Logged,
    Returned,
    Start,
    Stop,
    Task,
    Wire,
    memory_file,
    read_value,
    write_value,
)
from cobre.runtime._worker import HELD_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Payload", "WorkerProcess", "end_all", "signals_held", "thread_limits"]

STDERR_LIMIT: Final = 1 << 16
"""Bytes of a worker's stderr that are kept: the last ones."""

_PATIENCE_SECS: Final = 0.1
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
# A lifeline is a descriptor of this process: in a worker the number would mean something else.
_OWN_VARIABLES: Final = ("COBRE_COMM_LIFELINE",)
# Not `-m`: the search path must be the parent's before anything is looked for, whatever its flags ignore.
_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from cobre.runtime._worker import main; control, lifeline = map(int, sys.argv[2:4]); "
    "sys.argv[:] = sys.argv[1:2]; main(control, lifeline)"
)

_living: weakref.WeakSet[WorkerProcess] = weakref.WeakSet()


class Payload:
    """A value in a memory file, written once and read by any number of workers."""

    def __init__(self, value: object) -> None:
        """Pickle the value."""
        self.descriptor: Final = memory_file("payload")
        try:
            self.length: Final = write_value(self.descriptor, value)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        os.close(self.descriptor)


class WorkerProcess:
    """A process that does tasks, one after another.

    It reports on :attr:`wire` and :attr:`stderr` and its end on :attr:`sentinel`: whoever runs it waits for
    these descriptors and calls :meth:`messages`. Its end is certain: :func:`end_all`, the exit of this
    interpreter and the death of this process each bring it about.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        *,
        inherited: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        stays: bool = False,
    ) -> None:
        """Start the process; it imports what it needs while the caller goes on.

        Args:
            rank: 0-based number of the worker.
            size: Number of workers.
            inherited: Descriptors that it shall have, under the same numbers.
            environment: Variables to set, beyond those of this process.
            stays: Whether it waits for more tasks after the first.

        Raises:
            IOError: The process could not be started (``BackendFailure``).
        """
        self.rank: Final = rank
        self._owner = os.getpid()
        with contextlib.ExitStack() as opened:
            self._answer = memory_file("answer")
            opened.callback(os.close, self._answer)
            here, there = socket.socketpair()
            self.wire: Final = Wire(here)
            opened.callback(self.wire.close)
            lifeline, self._lifeline = os.pipe()
            opened.callback(os.close, self._lifeline)
            self.stderr, stderr = os.pipe()
            opened.callback(os.close, self.stderr)
            os.set_blocking(self.stderr, False)
            descriptors = (self._answer, there.fileno(), lifeline, *inherited)
            try:
                self._process = _popen(there.fileno(), lifeline, stderr, descriptors, environment)
            finally:
                there.close()
                os.close(lifeline)
                os.close(stderr)
            opened.callback(self._process.wait)
            opened.callback(self._process.kill)
            self.sentinel: Final = os.pidfd_open(self._process.pid)
            opened.callback(os.close, self.sentinel)
            self._opened = opened.pop_all()
        _register_exit_hook()
        _living.add(self)
        self._is_closed = False
        self._is_stderr_drained = True
        self._tail = bytearray()
        self._send(Start(rank, size, stays, logging.getLogger().getEffectiveLevel(), descriptors))

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code: the negative number of the signal that ended the process, ``None`` while it lives."""
        return self._process.poll()

    @property
    def is_drained(self) -> bool:
        """Tell whether all was read that was there when :meth:`messages` was called last."""
        return self.wire.is_drained and self._is_stderr_drained

    @property
    def stderr_tail(self) -> str:
        """The last 64 KiB of what the process wrote to stderr."""
        return self._tail.decode(errors="replace")

    def give(self, function: str, payload: Payload) -> None:
        """Give a task: ``module:function``, called with a ``Worker`` and the payload's value.

        The process must have inherited the payload's descriptor.
        """
        self._send(Task(function, payload.descriptor, payload.length, self._answer))

    def ask_to_stop(self) -> None:
        """Ask for an early end of the task in order."""
        self._send(Stop())

    def messages(self) -> Iterator[object]:
        """Return events and outcomes that are there; records of ``logging`` and stderr are seen to."""
        self._read_stderr()
        for message in self.wire.arrived():
            if isinstance(message, Logged):
                _log(self.rank, message)
            else:
                yield message

    def discard_messages(self) -> None:
        """Keep the process from waiting for a reader that has lost interest."""
        self._read_stderr()
        for _ in self.wire.chunks():
            pass

    def result(self, outcome: Returned) -> object:
        """Read the result that an outcome announces."""
        return read_value(self._answer, outcome.length)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        self._process.send_signal(number)

    def wait(self) -> None:
        """Wait for the end and close everything; a second call does nothing."""
        self._process.wait()
        _living.discard(self)
        if not self._is_closed:
            self._is_closed = True
            self._read_stderr()
            self._opened.close()

    def _send(self, message: Start | Task | Stop) -> None:
        # A process that has died is noticed by its sentinel.
        with contextlib.suppress(OSError):
            self.wire.send(message)

    def _read_stderr(self) -> None:
        self._is_stderr_drained = False
        for _ in range(CHUNKS_AT_ONCE):
            try:
                chunk = os.read(self.stderr, CHUNK)
            except BlockingIOError:
                chunk = b""
            if not chunk:
                self._is_stderr_drained = True
                return
            self._tail += chunk
            del self._tail[:-STDERR_LIMIT]


def end_all(processes: Iterable[WorkerProcess]) -> None:
    """End processes, politely for a tenth of a second, and wait until nothing of them is left."""
    with signals_held():
        ended = list(processes)
        running = [process for process in ended if process.exit_code is None]
        for process in running:
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE_SECS
        while running and (left := deadline - time.monotonic()) > 0.0:
            poll = select.poll()
            for process in running:
                poll.register(process.sentinel, select.POLLIN)
            poll.poll(1000.0 * left)
            running = [process for process in running if process.exit_code is None]
        for process in running:
            process.signal(signal.SIGKILL)
        for process in ended:
            process.wait()


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold back signals that interrupt a program; processes started meanwhile have them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def thread_limits(threads: int) -> dict[str, str]:
    """Return the variables that keep the usual numerical libraries to so many threads."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def _popen(
    control: int,
    lifeline: int,
    stderr: int,
    descriptors: Sequence[int],
    environment: Mapping[str, str] | None,
) -> subprocess.Popen[bytes]:
    """Start the interpreter."""
    if not sys.executable:
        raise IOError(
            "workers cannot be started: it is not known which Python runs this program",
            kind="BackendFailure",
            suggestion="set sys.executable, or use one process",
        )
    # What the interpreter was told by -W, -X and other flags is for its children as well. A private function,
    # but the one with which the standard library itself starts interpreters.
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    command = [sys.executable, *flags, "-P", "-c", _PROGRAM, "cobre.runtime._worker"]
    variables = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
    try:
        return subprocess.Popen(  # noqa: S603 - this program again
            [*command, str(control), str(lifeline), *_search_path()],
            env={**variables, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=descriptors,
        )
    except OSError as error:
        raise IOError(
            f"a worker could not be started: {error}",
            kind="BackendFailure",
            suggestion="see the limits of processes, memory and open files (ulimit -a), or use fewer workers",
        ) from error


def _search_path() -> list[str]:
    """Return where the worker looks for modules: where this process does, and where it found Cobre."""
    path = [os.fspath(entry) or str(Path.cwd()) for entry in sys.path]
    home = str(Path(cobre.__file__).resolve().parents[1])
    return path if home in path else [*path, home]


def _log(rank: int, message: Logged) -> None:
    record = logging.makeLogRecord(message.record)
    record.msg = f"[rank {rank}] {record.msg}"
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


@functools.cache
def _register_exit_hook() -> None:
    atexit.register(_end_the_living)


def _end_the_living() -> None:
    own = os.getpid()  # A fork of this process runs this too, and the workers are not its own.
    end_all([process for process in _living if process._owner == own])  # noqa: SLF001
