"""How progress looks on a terminal: a live table for training, a bar for simulation.

Progress itself is data (:class:`cobre.ProgressEvent`); this is the only place that knows how to draw it, and
the only one that imports rich. The display goes to stderr, so that stdout stays clean for results.
"""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias

from cobre._text import format_duration, format_number
from cobre.events import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console, RenderableType
    from rich.live import Live

    from cobre._core import Callback

__all__ = ["Display", "Progress", "callback_of", "display"]

Progress: TypeAlias = bool | Literal["auto"]
"""``True`` always shows progress, ``False`` never, ``"auto"`` when stderr is a terminal."""

_FRAMES_PER_SECOND = 8
_SECONDS_BETWEEN_LINES = 1.0


class Display(Protocol):
    """Takes the events of one job between ``with`` and its end."""

    def __enter__(self) -> Self:
        """Begin to draw."""
        ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last figures on the screen."""
        ...

    def show(self, event: ProgressEvent) -> None:
        """Take one event; cheap enough to be called thousands of times per second."""
        ...


def display(progress: Progress, *, time_limit: float | None = None) -> Display:
    """Choose the display of a job.

    Args:
        progress: See :data:`Progress`.
        time_limit: Seconds after which the job ends, when that is known.

    Raises:
        ValueError: ``progress`` is none of the three.

    Examples:
        >>> with display(False) as nothing:
        ...     pass
    """
    if progress not in (True, False, "auto"):
        raise ValueError(f"progress must be True, False or 'auto', not {progress!r}")
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if progress is False or (progress == "auto" and not terminal):
        return _Nothing()
    from rich.console import Console  # noqa: PLC0415 - loaded only where something is drawn

    # rich itself honours NO_COLOR and TERM=dumb.
    console = Console(stderr=True)
    live = console.is_terminal and not console.is_dumb_terminal
    return _Live(console, time_limit) if live else _Lines(console, time_limit)


def callback_of(screen: Display, user: Callable[[ProgressEvent], object] | None) -> Callback | None:
    """Make the callback of the compiled part: the display sees every event of one process, then the user all.

    Raises:
        TypeError: The user's callback cannot be called.
    """
    if user is not None and not callable(user):
        raise TypeError(f"progress_callback must be callable, not {type(user).__name__}")
    if user is None and isinstance(screen, _Nothing):
        return None

    def callback(*fields: Any) -> None:  # noqa: ANN401 - the fields of a ProgressEvent, in their order
        event = ProgressEvent(*fields)
        if not event.worker_id:
            screen.show(event)
        if user is not None:
            user(event)

    return callback


class _Nothing:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def show(self, event: ProgressEvent) -> None:
        pass


class _Lines:
    """Prints a line now and then, for logs and for terminals that cannot move the cursor."""

    def __init__(self, console: Console, time_limit: float | None) -> None:
        self._console = console
        self._time_limit = time_limit
        self._last_line = -_SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def show(self, event: ProgressEvent) -> None:
        now = time.monotonic()
        if event.phase == "finished" or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            cells = _cells(event, self._time_limit)
            text = ", ".join(f"{name} {value}" for name, value in cells if value != "-")
            self._console.print(f"{event.system}: {text}", highlight=False, soft_wrap=True)


class _Live:
    """Redraws in place; drawing happens on rich's own thread, so that events stay cheap."""

    def __init__(self, console: Console, time_limit: float | None) -> None:
        self._console = console
        self._time_limit = time_limit
        self._event: ProgressEvent | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live  # noqa: PLC0415

        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=False,
        )
        self._live.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: ProgressEvent) -> None:
        self._event = event

    def _draw(self) -> RenderableType:
        if self._event is None:
            return ""
        cells = _cells(self._event, self._time_limit)
        return _table(cells) if self._event.system == "train" else _bar(self._event, cells)


def _remaining(event: ProgressEvent, time_limit: float | None) -> str:
    """Estimate the time left, from what is done of what is to do; a dash where no end is known."""
    if event.phase == "finished":
        return "-"
    estimates = []
    if event.total and event.done:
        estimates.append(event.elapsed_secs * (event.total - event.done) / event.done)
    if time_limit is not None:
        estimates.append(max(0.0, time_limit - event.elapsed_secs))
    return format_duration(min(estimates)) if estimates else "-"


def _cells(event: ProgressEvent, time_limit: float | None) -> list[tuple[str, str]]:
    """Name and text of each figure that is shown."""
    times = [("time", format_duration(event.elapsed_secs)), ("time left", _remaining(event, time_limit))]
    metrics = {name: value for name, value in event.metrics.items() if not math.isnan(value)}
    total = "" if event.total is None else f"/{event.total}"
    if event.system == "simulate":
        mean = format_number(metrics.get("mean_cost"))
        return [("scenarios", f"{event.done}{total}"), ("mean cost [$]", mean), *times]
    upper = format_number(metrics.get("upper_bound"))
    if "upper_bound_half_width" in metrics:
        upper += f" ± {format_number(metrics['upper_bound_half_width'])}"
    return [
        ("iteration", f"{event.iteration}{total}"),
        ("lower bound [$]", format_number(metrics.get("lower_bound"))),
        ("upper bound [$]", upper),
        ("gap", f"{100.0 * metrics['gap']:.2f} %" if "gap" in metrics else "-"),
        ("cuts", format_number(int(metrics["cuts_active"])) if "cuts_active" in metrics else "-"),
        *times,
    ]


def _table(cells: list[tuple[str, str]]) -> RenderableType:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, header_style="bold cyan", pad_edge=False)
    for name, _ in cells:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(*(value for _, value in cells))
    return table


def _bar(event: ProgressEvent, cells: list[tuple[str, str]]) -> RenderableType:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=event.total, completed=event.done, width=32, pulse=event.total is None)
    grid.add_row("simulation", bar, *(f"{name} {value}" for name, value in cells))
    return grid
