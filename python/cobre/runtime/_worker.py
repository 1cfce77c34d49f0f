"""What runs in a worker process."""

from __future__ import annotations

import faulthandler
import importlib
import logging
import logging.handlers
import os
import pickle
import queue
import signal
import socket
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Final, cast

from cobre.errors import CobreError
from cobre.runtime._wire import (
    Happened,
    Logged,
    Raised,
    Returned,
    Start,
    Stop,
    Task,
    Wire,
    read_value,
    write_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HELD_SIGNALS", "Worker", "main"]

HELD_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that the parent holds back while it starts a worker, which is born with them blocked."""


class Worker:
    """The worker as a task sees it."""

    def __init__(self, rank: int, size: int, wire: Wire) -> None:
        """Make the worker of a process; tasks are given theirs."""
        self.rank: Final = rank
        """0-based number of this worker."""
        self.size: Final = size
        """Number of workers."""
        self._wire = wire
        self._lock = threading.Lock()
        self._is_stopped = False
        self._callbacks: list[Callable[[], object]] = []

    def emit(self, event: object) -> None:
        """Send an event to the parent, where it reaches the caller's callback; it must be picklable."""
        self._wire.send(Happened(event))

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Have a function called, in another thread, when the task is to end; at once when it already is."""
        with self._lock:
            is_late = self._is_stopped
            if not is_late:
                self._callbacks.append(callback)
        if is_late:
            callback()

    def stop(self) -> None:
        """Ask the task to end."""
        with self._lock:
            self._is_stopped = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def perform(self, task: Task) -> bool:
        """Run a task, send what comes of it, and tell whether that is a result."""
        try:
            module, _, name = task.function.partition(":")
            function = getattr(importlib.import_module(module), name)
            result = function(self, read_value(task.descriptor, task.length))
            outcome: Returned | Raised = Returned(write_value(task.answer, result))
        except SystemExit:
            raise  # The task ended the process: it has no result.
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must know; panics of Rust too
            outcome = _raised(error)
        with self._lock:
            self._callbacks.clear()
            self._is_stopped = False
        self._wire.send(outcome)
        return isinstance(outcome, Returned)


def _raised(error: BaseException) -> Raised:
    """Describe an error so that it can be read in a process that does not know its class."""
    text = "".join(traceback.format_exception(error))
    summary = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, CobreError):
        try:
            content = pickle.dumps(error, protocol=5)
            pickle.loads(content)  # noqa: S301 - it must be readable, not just writable
        except Exception:  # noqa: BLE001 - pickling runs code of whoever made the error's parts
            error = CobreError(error.message, kind=error.kind, suggestion=error.suggestion)
            content = pickle.dumps(error, protocol=5)
    else:
        content = pickle.dumps(CobreError(summary, kind="InternalPanic"), protocol=5)
    return Raised(content, summary, text)


class _Forward(logging.handlers.QueueHandler):
    """Sends the records of ``logging`` to the parent, as texts."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(cast("Any", None))
        self.setFormatter(logging.Formatter())
        self._wire = wire

    def enqueue(self, record: logging.LogRecord) -> None:
        self._wire.send(Logged(record.__dict__))


def main(control: int, lifeline: int) -> None:
    """Serve the parent until it closes the socket, and leave the process.

    Args:
        control: Descriptor of the worker's end of the socket pair.
        lifeline: Descriptor of a pipe that the parent holds open as long as it lives.
    """
    # Ctrl-C at the terminal reaches every process of the program: the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
    faulthandler.enable(all_threads=False)
    from cobre._native import _core  # noqa: PLC0415 - after the signals are settled

    _core.watch_lifeline(lifeline)
    wire = Wire(socket.socket(fileno=control))
    try:
        start = cast("Start", wire.receive())
    except (EOFError, OSError):
        sys.exit(0)
    for descriptor in start.descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the parameter has no name
    logging.basicConfig(level=start.log_level, handlers=[_Forward(wire)])
    worker = Worker(start.rank, start.size, wire)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(wire, worker, tasks), name="cobre-control", daemon=True).start()
    while (task := tasks.get()) is not None:
        is_done = worker.perform(task)
        if not start.stays:
            sys.exit(0 if is_done else 1)


def _listen(wire: Wire, worker: Worker, tasks: queue.SimpleQueue[Task | None]) -> None:
    """Take what the parent sends, also while a task runs."""
    try:
        while True:
            message = wire.receive()
            if isinstance(message, Stop):
                worker.stop()
            else:
                tasks.put(cast("Task", message))
    except (EOFError, OSError):
        worker.stop()
        tasks.put(None)
