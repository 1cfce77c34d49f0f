"""Tasks that tests give to workers, which find them by the search path they were handed."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import cobre

if TYPE_CHECKING:
    from cobre.runtime._worker import Worker


def introduce(worker: Worker, value: object) -> tuple[int, int, object]:
    return worker.rank, worker.size, value


def count(worker: Worker, numbers: int) -> None:
    for number in range(numbers):
        worker.emit(number)


def chatter(worker: Worker, _value: object) -> None:
    """Talk without an end, on one rank, and die of something on another."""
    if worker.rank == 1:
        time.sleep(0.3)
        os._exit(4)
    while True:
        worker.emit("x" * 1000)
        sys.stderr.write("y" * 1000)


def echo_on_rank_0(worker: Worker, value: object) -> object:
    return value if worker.rank == 0 else None


def surroundings(_worker: Worker, name: str) -> dict[str, object]:
    open_files = {
        int(entry.name): str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.exists()
    }
    return {
        "main": getattr(sys.modules["__main__"], "__file__", None),
        "path": sys.path,
        "flags": (sys.flags.dont_write_bytecode, sys.warnoptions, dict(sys._xoptions)),
        "variable": os.environ.get(name),
        "directory": str(Path.cwd()),
        "open": open_files,
        "inheritable": [number for number in open_files if number > 2 and os.get_inheritable(number)],
        "sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def speak(worker: Worker, length: int) -> None:
    logging.getLogger("tasks").warning("rank is %d", worker.rank)
    logging.getLogger("tasks").debug("nobody asked")
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logging.getLogger("tasks").exception("it went wrong")
    warnings.warn("odd", RuntimeWarning, stacklevel=1)
    sys.stderr.write("x" * length + f"end of {worker.rank}\n")


def fail_as_told(worker: Worker, errors: dict[int, BaseException]) -> None:
    """Raise, on some ranks, the later the higher the rank."""
    time.sleep(0.05 * worker.rank)
    if worker.rank in errors:
        raise errors[worker.rank]
    time.sleep(60.0)


class PrivateError(cobre.CobreError):
    """An error that cannot be pickled."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("not this one")


def fail_privately(_worker: Worker, _value: object) -> None:
    raise PrivateError("for this process alone", kind="Cancelled")


def return_a_lock(_worker: Worker, _value: object) -> object:
    return threading.Lock()


def end_as_told(worker: Worker, value: tuple[int, str, int]) -> None:
    """End one rank as it is told to, while the others wait."""
    rank, how, number = value
    if worker.rank == rank:
        sys.stderr.write("last words")
        sys.stderr.flush()
        if how == "signal":
            os.kill(os.getpid(), number)
        elif how == "exit":
            sys.exit(number)
        else:
            os._exit(number)
    time.sleep(60.0)


class _Fatal:
    """Ends the process that pickles it."""

    def __reduce__(self) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def die_while_returning(worker: Worker, _value: object) -> object:
    return [b"half of it" * 100_000, _Fatal()] if worker.rank == 1 else None


def crash(worker: Worker, _value: object) -> None:
    """Read from an address that is not there."""
    import ctypes  # noqa: PLC0415

    if worker.rank == 1:
        ctypes.string_at(0)
    time.sleep(60.0)


def wait_for_stop(worker: Worker, place: str) -> str:
    """Wait until asked to stop, and leave a trace of having been asked."""
    stopped = threading.Event()
    worker.on_stop(stopped.set)
    worker.emit("ready")
    stopped.wait(60.0)
    (Path(place) / f"stopped-{worker.rank}").touch()
    return "stopped"


def ignore_stop(worker: Worker, _value: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker.emit("ready")
    time.sleep(60.0)
