"""Progress of long work, as data: the same event for every system."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ProgressEvent"]


@dataclass(frozen=True)
class ProgressEvent:
    """One step of progress.

    Figures in ``metrics`` are attributes too. A training reports ``lower_bound``, ``upper_bound`` and ``gap``
    (costs in $) and ``iteration_time_ms``; a simulation ``scenarios_complete``.

    Examples:
        >>> event = ProgressEvent("train", "progress", 3, 3, 10, {"lower_bound": 12.5}, 0.25)
        >>> event.lower_bound
        12.5
        >>> event.upper_bound
        Traceback (most recent call last):
        AttributeError: this event has no metric 'upper_bound'; it has: lower_bound
    """

    system: str
    """Who speaks: ``train`` or ``simulate``."""
    phase: str
    """``started``, ``progress`` or ``finished``."""
    iteration: int
    """1-based iteration of a training; 0 elsewhere."""
    done: int
    """Units complete: iterations or scenarios."""
    total: int | None = None
    """Units in total, when known in advance."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Named figures."""
    elapsed_secs: float = 0.0
    """Seconds since the job began."""
    worker_id: int | None = None
    """0-based rank in a job of several processes; ``None`` in a job of one."""

    def __getattr__(self, name: str) -> float:
        """Read a metric by its name."""
        # Pickle and copy look attributes up before there are any: only what is there may be consulted.
        metrics = self.__dict__.get("metrics", {})
        if name in metrics:
            value: float = metrics[name]
            return value
        raise AttributeError(f"this event has no metric {name!r}; it has: {', '.join(metrics) or 'none'}")
