"""Exceptions of Cobre: one base class, one class per kind of reader.

Every exception carries a kind from a closed list (:data:`KINDS`), a sentence for people, a context of named
values for programs and, for inputs, the list of every problem found. Each class is also the built-in
exception that code without knowledge of Cobre would catch: a ``ValidationError`` is a ``ValueError``, an
``IOError`` an ``OSError``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["KINDS", "CobreError", "IOError", "Problem", "SolverError", "ValidationError", "WorkerError"]

KINDS: Final[tuple[str, ...]] = (
    "MissingFile",
    "ParseError",
    "SchemaViolation",
    "TypeMismatch",
    "OutOfRange",
    "InvalidEnum",
    "DuplicateId",
    "MissingReference",
    "CoverageMismatch",
    "StageMismatch",
    "IncompatibleSettings",
    "PhysicalConstraint",
    "CapacityViolation",
    "PenaltyConsistency",
    "SolverFailure",
    "BackendFailure",
    "CheckpointFailed",
    "OutputCorrupted",
    "OutputNotFound",
    "IncompatibleRuns",
    "WorkerFailed",
    "Cancelled",
    "InternalPanic",
)
"""Every kind of error: the same words in Python, in the compiled engine and in reports."""

_STDERR_LINES: Final = 10


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input.

    Examples:
        >>> print(Problem("config.json", "training", "forward_pases", "4", "a known key", "forward_passes?"))
        config.json, training, forward_pases: found 4, expected a known key [SchemaViolation]; forward_passes?
    """

    file: str
    """File relative to the case directory, e.g. ``system/hydros.json``."""
    entity: str = ""
    """Which entity, e.g. ``hydros[2] (id 7)``; empty for the file as a whole."""
    field: str = ""
    """Which field, e.g. ``reservoir.max_storage_hm3``; empty for the entity as a whole."""
    value: str = ""
    """What was found."""
    expected: str = ""
    """What would be right."""
    suggestion: str | None = None
    """What to do, when that can be guessed."""
    kind: str = "SchemaViolation"
    """The kind the problem would have as an error of its own; one of :data:`KINDS`."""

    def __str__(self) -> str:
        """Put the problem in one line."""
        place = ", ".join(part for part in (self.file, self.entity, self.field) if part)
        found = f"found {self.value}, " if self.value else ""
        advice = f"; {self.suggestion}" if self.suggestion else ""
        return f"{place}: {found}expected {self.expected} [{self.kind}]{advice}"


class CobreError(Exception):
    """Base of all exceptions of Cobre.

    Args:
        message: What happened, as a sentence.
        kind: One of :data:`KINDS`.
        context: Named values: indices, paths, counts.
        suggestion: What the reader could do about it.
        problems: Every problem of an input, as :class:`Problem` or as its fields; empty for other errors.

    Examples:
        >>> error = CobreError("the job was cancelled", kind="Cancelled", context={"iteration": 3})
        >>> print(error)
        the job was cancelled (iteration 3)
        >>> error.kind, error.context
        ('Cancelled', {'iteration': 3})
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "InternalPanic",
        context: Mapping[str, object] | None = None,
        suggestion: str | None = None,
        problems: Sequence[Problem | Mapping[str, Any]] = (),
    ) -> None:
        """Make an error; see the class for the arguments."""
        super().__init__(message)
        self.message: str = message
        self.kind: str = kind
        self.context: dict[str, object] = dict(context or {})
        self.suggestion: str | None = suggestion
        self.problems: list[Problem] = [
            problem if isinstance(problem, Problem) else Problem(**problem) for problem in problems
        ]

    def __str__(self) -> str:
        """Say what happened, where, every problem on a line of its own, and what to do."""
        text = self.message
        if details := self._details():
            text += (
                " (" + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in details.items()) + ")"
            )
        text += "".join(f"\n  {problem}" for problem in self.problems)
        if self.suggestion:
            text += f"\n{self.suggestion}" if self.problems else f"; {self.suggestion}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by class, message and attributes: the constructor's keywords are all attributes."""
        return (_restore, (type(self), self.message), dict(self.__dict__))

    def _details(self) -> dict[str, object]:
        """Return what of the context belongs into the message."""
        return self.context

    def _number(self, name: str) -> int | None:
        value = self.context.get(name)
        return value if isinstance(value, int) else None

    def _text(self, name: str) -> str | None:
        value = self.context.get(name)
        return None if value is None else str(value)


def _restore(cls: type[CobreError], message: str) -> CobreError:
    """Make an error that pickle fills with its attributes."""
    return cls(message)


class ValidationError(CobreError, ValueError):
    """An input is not what it must be; ``problems`` names every place.

    Examples:
        >>> problem = Problem("stages.json", "stages[1]", "num_scenarios", "0", "at least 1")
        >>> print(ValidationError("the case: 1 problem", kind="OutOfRange", problems=[problem]))
        the case: 1 problem
          stages.json, stages[1], num_scenarios: found 0, expected at least 1 [SchemaViolation]
    """


class SolverError(CobreError, RuntimeError):
    """A stage problem was infeasible, unbounded or beyond the solver.

    Every property is read from ``context`` and is ``None`` where the engine could not know.
    """

    @property
    def stage(self) -> int | None:
        """0-based stage of the problem."""
        return self._number("stage")

    @property
    def node(self) -> str | None:
        """Name of the policy graph's node."""
        return self._text("node")

    @property
    def iteration(self) -> int | None:
        """1-based iteration of the training."""
        return self._number("iteration")

    @property
    def path(self) -> int | None:
        """0-based forward path of the iteration, or scenario of the simulation."""
        number = self._number("path")
        return self._number("scenario") if number is None else number

    @property
    def noise(self) -> int | str | None:
        """The outcome that was realised: the index of the opening, or its description."""
        number = self._number("noise")
        return self._text("noise") if number is None else number

    @property
    def solver_status(self) -> str | None:
        """What the solver said."""
        return self._text("solver_status")

    @property
    def lp_file(self) -> str | None:
        """File that holds the linear program, in MPS format."""
        return self._text("lp_file")


class IOError(CobreError, OSError):
    """A file could not be read or written, or what was read is damaged."""

    @property
    def path(self) -> str | None:
        """The file or directory."""
        return self._text("path")


class WorkerError(CobreError, RuntimeError):
    r"""A worker process died or failed.

    Where the worker raised, the traceback of its process is the ``__cause__``.

    Args:
        message: What happened, as a sentence.
        inner: The error the worker reported; ``None`` when it died at the level of the operating system.
        kind: One of :data:`KINDS`.
        context: ``rank``, ``exit_code``, ``stderr`` and other named values.
        suggestion: What the reader could do about it.
        problems: As for :class:`CobreError`.

    Examples:
        >>> context = {"rank": 1, "exit_code": -11, "stderr": "Fatal Python error: Segmentation fault\n"}
        >>> error = WorkerError("worker 1 was lost: it was ended by SIGSEGV", context=context)
        >>> print(error)
        worker 1 was lost: it was ended by SIGSEGV (rank 1, exit code -11)
        the end of its stderr:
          Fatal Python error: Segmentation fault
        >>> error.rank, error.exit_code, error.inner, error.others
        (1, -11, None, [])
    """

    def __init__(
        self,
        message: str,
        *,
        inner: CobreError | None = None,
        kind: str = "WorkerFailed",
        context: Mapping[str, object] | None = None,
        suggestion: str | None = None,
        problems: Sequence[Problem | Mapping[str, Any]] = (),
    ) -> None:
        """Make an error; see the class for the arguments."""
        super().__init__(message, kind=kind, context=context, suggestion=suggestion, problems=problems)
        self.inner: CobreError | None = inner
        self.others: list[WorkerError] = []
        """Failures of other workers: consequences of this one, mostly."""

    def __str__(self) -> str:
        """Say what happened, and how the worker's stderr ended."""
        text = super().__str__()
        if lines := self.stderr.rstrip().splitlines()[-_STDERR_LINES:]:
            text += "\nthe end of its stderr:" + "".join(f"\n  {line}" for line in lines)
        return text

    @property
    def rank(self) -> int | None:
        """0-based rank of the worker."""
        return self._number("rank")

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process: the negative number of the signal when it was killed."""
        return self._number("exit_code")

    @property
    def stderr(self) -> str:
        """The last 64 KiB of what the process wrote to stderr."""
        return self._text("stderr") or ""

    def _details(self) -> dict[str, object]:
        return {name: value for name, value in self.context.items() if name != "stderr" and value is not None}
