"""What tests of worker processes share: who is alive, and what is left when nobody is."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Four times what is promised: a second after which a lost worker is an error and an orphan is gone.
PATIENCE_SECS = 4.0

_SHARED = Path("/dev", "shm")
_MARK = b"cobre.runtime._worker"


def children(parent: int) -> list[int]:
    """Find the children of a process, dead ones that nobody waited for included, oldest first."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It ended while we looked.
        if int(fields[1]) == parent:
            found.append((int(fields[19]), int(place.parent.name)))
    return [pid for _, pid in sorted(found)]


def workers(parent: int) -> list[int]:
    """Find the workers that a process started, by rank."""
    return [pid for pid in children(parent) if _MARK in _command(pid)]


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no mere zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(
    condition: Callable[[], object], seconds: float = 30.0, what: str = "this did not happen"
) -> None:
    """Wait for something to become true, which it must."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def descriptors() -> Counter[str]:
    """Count what this process holds open, by kind."""
    kinds: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # That of the directory itself.
        kinds[re.sub(r"\[\d+\]", "[]", target)] += 1
    return kinds


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """See to it that no process, zombie, descriptor or shared memory is left."""
    before = set(children(os.getpid())), descriptors(), _shared_memory()
    yield
    assert set(children(os.getpid())) <= before[0], "a process was left"
    assert not descriptors() - before[1], "a descriptor was left"
    # Programs beside these tests have shared memory of their own; what was left would stay.
    wait_until(lambda: _shared_memory() <= before[2], what="shared memory was left")


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See to it that a test leaves no process, zombie, descriptor, shared memory or temporary file."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with leaving_nothing():
        yield
    # The linear program that an error names is there to be looked at.
    left = [entry.name for entry in temporary.iterdir() if entry.suffix != ".mps"]
    assert not left, "a temporary file was left"


def _shared_memory() -> set[str]:
    """Names of the shared memory and the semaphores that Cobre and ``multiprocessing`` make.

    Other programs have theirs, and tests of the native program choose names of their own.
    """
    names = {entry.name for entry in _SHARED.iterdir() if not entry.name.startswith("cobre-test-")}
    return {name for name in names if name.startswith(("cobre", "mp-", "psm_", "sem.mp-"))}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
