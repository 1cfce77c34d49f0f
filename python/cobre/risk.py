"""Measures of risk: how the costs of the outcomes that can follow become one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cobre._options import check_real, refuse

__all__ = ["CVaR", "Expectation", "Risk"]


@dataclass(frozen=True)
class Expectation:
    """The mean: the measure of a planner who is neutral to risk.

    Examples:
        >>> Expectation()
        Expectation()
    """


@dataclass(frozen=True)
class CVaR:
    """The convex mixture ``(1 - weight) · mean + weight · CVaR_alpha``.

    The conditional value at risk of a cost is the mean of its worst fraction ``alpha`` of outcomes
    (Rockafellar and Uryasev, 2000). The measure is nested: it acts at every stage, over the joint
    distribution of what can follow.

    Raises:
        TypeError: A parameter is not a number.
        ValidationError: ``alpha`` is not in (0, 1] or ``weight`` not in [0, 1].

    Examples:
        >>> CVaR(alpha=0.25, weight=0.5)
        CVaR(alpha=0.25, weight=0.5)
        >>> CVaR(alpha=0.0)
        Traceback (most recent call last):
        cobre.errors.ValidationError: an argument cannot be used
          alpha: found 0.0, expected a number in (0, 1], the worst fraction of outcomes [OutOfRange]
    """

    alpha: float
    """Worst fraction of outcomes, in (0, 1]; 1 is the mean."""
    weight: float = 1.0
    """Weight of the CVaR, in [0, 1]; 0 is the mean."""

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not 0.0 < check_real("alpha", self.alpha) <= 1.0:
            raise refuse("alpha", self.alpha, "a number in (0, 1], the worst fraction of outcomes")
        if not 0.0 <= check_real("weight", self.weight) <= 1.0:
            raise refuse("weight", self.weight, "a number in [0, 1], the share of the CVaR")


Risk: TypeAlias = Expectation | CVaR
"""Any measure of risk."""
