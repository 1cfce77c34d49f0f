"""What parent and worker tell each other, and how: small messages by socket, large values by memory file."""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CHUNK",
    "CHUNKS_AT_ONCE",
    "Happened",
    "Logged",
    "Raised",
    "Returned",
    "Start",
    "Stop",
    "Task",
    "Wire",
    "memory_file",
    "read_value",
    "write_value",
]

_LENGTH: Final = struct.Struct("!Q")

CHUNK: Final = 1 << 16
"""Bytes read at a time."""
CHUNKS_AT_ONCE: Final = 16
"""Reads in a row before others have their turn."""


@dataclass(frozen=True)
class Start:
    """To a worker: who it is."""

    rank: int
    size: int
    stays: bool
    """Whether it waits for more tasks after the first."""
    log_level: int
    descriptors: tuple[int, ...]
    """Those it inherited, which its own children must not."""


@dataclass(frozen=True)
class Task:
    """To a worker: call a function with the value of one memory file, and write the result to another."""

    function: str
    """``module:function``; it takes a :class:`~cobre.runtime._worker.Worker` and the value."""
    descriptor: int
    length: int
    answer: int


@dataclass(frozen=True)
class Stop:
    """To a worker: end the task soon and in order."""


@dataclass(frozen=True)
class Happened:
    """From a worker: an event."""

    event: object


@dataclass(frozen=True)
class Logged:
    """From a worker: the attributes of a record of ``logging``."""

    record: dict[str, Any]


@dataclass(frozen=True)
class Returned:
    """From a worker: the task is done, and its result lies in the memory file."""

    length: int


@dataclass(frozen=True)
class Raised:
    """From a worker: the task failed."""

    error: bytes
    """A pickled :class:`~cobre.errors.CobreError`."""
    summary: str
    """The error in one line, for when that cannot be read here."""
    traceback: str


class Wire:
    """One end of a socket pair, which carries pickled messages.

    Both ends are processes of one program: nobody else can write to the socket.
    """

    def __init__(self, end: socket.socket) -> None:
        """Take the socket over."""
        self._end = end
        self._received = bytearray()
        self.is_drained = True
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor, to wait for it."""
        return self._end.fileno()

    def send(self, message: object) -> None:
        """Send a message whole; any thread may.

        Raises:
            OSError: The other end is closed.
        """
        content = pickle.dumps(message, protocol=5)
        with self._lock:
            self._end.sendall(_LENGTH.pack(len(content)) + content, socket.MSG_NOSIGNAL)

    def receive(self) -> object:
        """Wait for a message.

        Raises:
            EOFError: The other end is closed.
        """
        while (content := self._next()) is None:
            chunk = self._end.recv(CHUNK)
            if not chunk:
                raise EOFError
            self._received += chunk
        return pickle.loads(content)  # noqa: S301 - see the class

    def arrived(self) -> Iterator[object]:
        """Return messages that are there, without waiting for the rest of one that is not complete."""
        for chunk in self.chunks():
            self._received += chunk
            while (content := self._next()) is not None:
                yield pickle.loads(content)  # noqa: S301 - see the class

    def chunks(self) -> Iterator[bytes]:
        """Return what is there, in pieces; :attr:`is_drained` tells whether that was all.

        It is not when the other end writes as fast as this one reads: others want to be heard as well.
        """
        self.is_drained = False
        for _ in range(CHUNKS_AT_ONCE):
            try:
                chunk = self._end.recv(CHUNK, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionResetError):
                chunk = b""
            if not chunk:
                self.is_drained = True
                return
            yield chunk

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def _next(self) -> bytes | None:
        """Cut the first message off, when it is complete."""
        if len(self._received) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
        if len(self._received) < end:
            return None
        content = bytes(self._received[_LENGTH.size : end])
        del self._received[:end]
        return content


def memory_file(name: str) -> int:
    """Make a file that lies in memory, has no path and vanishes with the last process that holds it."""
    return os.memfd_create(f"cobre-{name}", os.MFD_CLOEXEC)


def write_value(descriptor: int, value: object) -> int:
    """Pickle a value into a memory file, in place of what it held, and return the length."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        pickle.dump(value, file, protocol=5)
        return file.tell()


def read_value(descriptor: int, length: int) -> object:
    """Read a value of :func:`write_value`; processes that share the file do not disturb each other."""
    with mmap.mmap(descriptor, length, access=mmap.ACCESS_READ) as content:
        return pickle.loads(content)  # noqa: S301 - written by this program
