"""What a failure of workers is called: the cause first, its consequences attached."""

from __future__ import annotations

import contextlib
import pickle
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cobre.errors import CobreError, WorkerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cobre.runtime._wire import Raised

__all__ = ["Failure", "RemoteTraceback", "worker_error"]

# What a worker reports that noticed the failure of another one, or that communication broke.
_CONSEQUENCES: Final = ("WorkerFailed", "BackendFailure")


class RemoteTraceback(Exception):  # noqa: N818 - a text that stands where an exception's cause does
    """Where in the worker an error arose, as text."""

    def __str__(self) -> str:
        """Set the text off from the traceback around it."""
        return f"\n\n{self.args[0]}"


@dataclass(frozen=True)
class Failure:
    """A worker that raised, or that ended without a result."""

    rank: int
    exit_code: int | None
    """``None`` when it was still alive."""
    raised: Raised | None
    """What it raised; ``None`` when it died."""
    stderr: str
    is_reported: bool = False
    """Whether another worker raised it, because this one did not answer."""

    def inner(self) -> CobreError | None:
        """Return the error that the worker raised."""
        if self.raised is None:
            return None
        with contextlib.suppress(Exception):  # Its class may be one that only the worker knew.
            error = pickle.loads(self.raised.error)  # noqa: S301 - written by this program
            if isinstance(error, CobreError):
                return error
        return CobreError(self.raised.summary, kind="InternalPanic")

    def error(self) -> WorkerError:
        """Describe this failure alone."""
        inner = self.inner()
        context: dict[str, object] = {"rank": self.rank, "exit_code": self.exit_code}
        if self.stderr:
            context["stderr"] = self.stderr
        if inner is None or self.raised is None:
            message = f"worker {self.rank} was lost: {_how(self.exit_code)}"
            return WorkerError(message, context=context, suggestion=_advice(self.exit_code))
        if not self.is_reported:
            # A worker that raised exits 1, whether or not it has come to that.
            context["exit_code"] = 1
        said = f"did not answer: {inner.message}" if self.is_reported else f"failed: {inner}"
        error = WorkerError(f"worker {self.rank} {said}", inner=inner, context=context)
        error.__cause__ = RemoteTraceback(self.raised.traceback)
        return error


def worker_error(failures: Sequence[Failure]) -> WorkerError:
    """Make one error of all failures, in the order in which they were noticed.

    It is that of the first worker that died or raised something of its own. Where all only report of others,
    it is that of the worker they name.
    """
    cause = next((failure for failure in failures if not _is_consequence(failure)), None)
    if cause is None:
        cause = _named(failures)
    error = cause.error()
    error.others = [failure.error() for failure in failures if failure is not cause]
    return error


def _named(failures: Sequence[Failure]) -> Failure:
    """Find the failure of the worker that another one names, or the first of all."""
    for failure in failures:
        inner = failure.inner()
        rank = None if inner is None else inner.context.get("rank")
        if isinstance(rank, int) and rank != failure.rank:
            known = next((other for other in failures if other.rank == rank), None)
            return known or Failure(rank, None, failure.raised, "", is_reported=True)
    return failures[0]


def _is_consequence(failure: Failure) -> bool:
    inner = failure.inner()
    return inner is not None and inner.kind in _CONSEQUENCES


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "it did not answer"
    if exit_code >= 0:
        return f"it ended without a result, with exit code {exit_code}"
    try:
        return f"it was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"it was ended by signal {-exit_code}"


def _advice(exit_code: int | None) -> str | None:
    if exit_code == -signal.SIGKILL:
        return "the system does this when memory runs out: see `dmesg`, and try fewer workers"
    return None
