"""Rules that end a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cobre._options import check_count, check_real, refuse

__all__ = ["BoundStalling", "IterationLimit", "StoppingRule", "TimeLimit"]


@dataclass(frozen=True)
class IterationLimit:
    """Stop after ``limit`` iterations.

    Raises:
        TypeError: ``limit`` is not a whole number.
        ValidationError: ``limit`` is less than 1.

    Examples:
        >>> IterationLimit(100)
        IterationLimit(limit=100)
    """

    limit: int
    """Number of iterations, at least 1."""

    def __post_init__(self) -> None:
        """Check the limit."""
        check_count("limit", self.limit)


@dataclass(frozen=True)
class TimeLimit:
    """Stop at the end of the iteration in which ``seconds`` have passed since training began.

    Raises:
        TypeError: ``seconds`` is not a number.
        ValidationError: ``seconds`` is not positive.

    Examples:
        >>> TimeLimit(60)
        TimeLimit(seconds=60)
    """

    seconds: float
    """Wall-clock seconds, more than 0."""

    def __post_init__(self) -> None:
        """Check the limit."""
        if check_real("seconds", self.seconds) <= 0.0:
            raise refuse("seconds", self.seconds, "more than 0")


@dataclass(frozen=True)
class BoundStalling:
    """Stop when the bound gained less than ``tolerance`` over the last ``iterations``.

    The test is ``|LB_k - LB_{k-n}| / max(1, |LB_k|) < tolerance`` with n = ``iterations``.

    Raises:
        TypeError: A parameter is not a number.
        ValidationError: ``iterations`` is less than 1 or ``tolerance`` not positive.

    Examples:
        >>> BoundStalling(iterations=10, tolerance=1e-4)
        BoundStalling(iterations=10, tolerance=0.0001)
    """

    iterations: int
    """The window n, at least 1."""
    tolerance: float
    """The relative gain below which the bound has stalled, more than 0."""

    def __post_init__(self) -> None:
        """Check the window and the tolerance."""
        check_count("iterations", self.iterations)
        if check_real("tolerance", self.tolerance) <= 0.0:
            raise refuse("tolerance", self.tolerance, "more than 0")


StoppingRule: TypeAlias = IterationLimit | TimeLimit | BoundStalling
"""Any rule."""
