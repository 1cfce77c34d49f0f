from __future__ import annotations

import io
import math
import os
import pty
import select
import subprocess
import sys
import time

import pytest

import cobre
from cobre.progress import display

# Draws six iterations and a simulation, slowly enough to be seen.
PROGRAM = """
import time
from cobre.events import ProgressEvent
from cobre.progress import display

with display("auto") as screen:
    for k in range(1, 7):
        metrics = {"lower_bound": 1e6 + k, "upper_bound": 2e6, "upper_bound_half_width": 5e4,
                   "gap": 0.5, "cuts_active": 40.0 * k}
        screen.show(ProgressEvent("train", "progress", k, k, 6, metrics, 0.1 * k))
        time.sleep(0.05)
with display("auto") as screen:
    screen.show(ProgressEvent("simulate", "progress", 0, 50, 100, {}, 1.0))
    time.sleep(0.2)
"""


def on_a_terminal(**environment: str) -> str:
    """Run the program with a terminal as its stderr, and return what it drew."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "TERM": "xterm", "COLUMNS": "120", **environment}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=theirs, env=settings) as child:
        os.close(theirs)
        drawn = b""
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.2)[0]:
                if child.poll() is not None:
                    break
                continue
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed.
                break
            drawn += chunk
        assert child.wait() == 0
    os.close(ours)
    return drawn.decode()


def test_a_terminal_shows_a_live_table() -> None:
    drawn = on_a_terminal()
    for words in ("lower bound", "1 000 006.00", "2 000 000.00 ± 50 000.00", "50.00 %", "6/6", "240"):
        assert words in drawn
    assert "simulation" in drawn
    assert "50/100" in drawn
    assert "1.0 s" in drawn
    assert "\x1b[" in drawn


def test_no_color_is_respected() -> None:
    drawn = on_a_terminal(NO_COLOR="1")
    assert "1 000 006.00" in drawn
    assert "\x1b[36m" not in drawn
    assert "\x1b[1;36m" not in drawn


def test_a_dumb_terminal_gets_lines() -> None:
    drawn = on_a_terminal(TERM="dumb")
    assert "\x1b" not in drawn
    assert "iteration 1/6" in drawn


def test_nothing_is_shown_when_not_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    event = cobre.ProgressEvent("train", "finished", 1, 1, 1, {"lower_bound": 1.0}, 1.0)
    for choice in (False, "auto"):
        with display(choice) as screen:
            screen.show(event)
    assert capfd.readouterr() == ("", "")


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    metrics = {"lower_bound": 12.5, "gap": math.nan, "upper_bound_half_width": math.nan}
    with display(progress=True) as screen:
        for iteration in range(1, 100):
            screen.show(cobre.ProgressEvent("train", "progress", iteration, iteration, None, metrics, 0.1))
        screen.show(cobre.ProgressEvent("train", "finished", 99, 99, None, metrics, 0.1))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[-1] == "train: iteration 99, lower bound [$] 12.50, time 0.1 s"


def test_the_time_left_is_that_of_the_nearest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with display(progress=True, time_limit=30.0) as screen:
        screen.show(cobre.ProgressEvent("train", "progress", 10, 10, 100, {}, 20.0))
    with display(progress=True) as screen:
        screen.show(cobre.ProgressEvent("train", "progress", 10, 10, 100, {}, 20.0))
        screen.show(cobre.ProgressEvent("train", "finished", 10, 10, 100, {}, 20.0))
    limited, by_iterations, finished = stream.getvalue().splitlines()
    assert limited.endswith("time left 10.0 s")
    assert by_iterations.endswith("time left 3 min 00 s")
    assert "time left" not in finished


def test_choices_are_closed() -> None:
    with pytest.raises(ValueError, match="auto"):
        display("always")  # type: ignore[arg-type]
