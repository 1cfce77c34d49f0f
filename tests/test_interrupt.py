from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cobre
from support import COBRE, EXAMPLE, SHARED

# The larger of the cases: its iterations are long enough to be interrupted in the middle of one.
LARGE = SHARED / "data" / "cases" / "4ree"
PROMPT_SECONDS = 0.5

# Says when the third iteration is complete, and at what time the interruption came out of train().
CHILD = """
import sys, time
import cobre

def tell(event):
    if event.iteration == 3:
        print("running", flush=True)

try:
    cobre.train(sys.argv[1], stopping=[cobre.IterationLimit(10**9)], progress=False,
                progress_callback=tell, output_dir=sys.argv[2])
except KeyboardInterrupt:
    print(repr(time.time()), flush=True)
    raise SystemExit(130)
"""


def large_case() -> Path:
    """Choose the case: the shipped one will do where the larger is not there."""
    return LARGE if LARGE.exists() else EXAMPLE


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        # A group of its own: a signal for the child is none for pytest.
        start_new_session=True,
    )


def wait_for_record(output: Path) -> None:
    """Wait until the command has begun to train, and for some iterations more."""
    deadline = time.monotonic() + 30.0
    while not (output / "run.json").exists():
        assert time.monotonic() < deadline, "the training did not begin"
        time.sleep(0.02)
    time.sleep(1.0)


def test_ctrl_c_returns_at_once_and_keeps_what_was_earned(tmp_path: Path) -> None:
    case, output = large_case(), tmp_path / "output"
    with start([sys.executable, "-c", CHILD, str(case), str(output)]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        sent = time.time()
        child.send_signal(signal.SIGINT)
        text, errors = child.communicate(timeout=30)
    assert child.returncode == 130, errors
    assert float(text) - sent < PROMPT_SECONDS
    policy = cobre.Policy.load(output)
    assert policy.iterations >= 3
    result = cobre.TrainingResult.load(output)
    assert result.termination_reason == "interrupted"
    assert result.iterations == policy.iterations
    again = cobre.simulate(case, policy, scenarios=2, progress=False)
    assert again.scenarios == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_the_command_stops_cleanly(number: signal.Signals, code: int, tmp_path: Path) -> None:
    case, output = large_case(), tmp_path / "output"
    command = ["train", str(case), "--output", str(output), "--iterations", str(10**9)]
    with start([*COBRE, *command]) as child:
        wait_for_record(output)
        sent = time.monotonic()
        child.send_signal(number)
        text, errors = child.communicate(timeout=30)
        seconds = time.monotonic() - sent
    assert child.returncode == code, errors
    # The interpreter needs some time to end, beyond that of the training.
    assert seconds < 2.0 * PROMPT_SECONDS
    assert text == ""
    assert "Traceback" not in errors
    policy = cobre.Policy.load(output)
    assert f"the policy of {policy.iterations} complete iterations is in {output / 'policy'}" in errors
    assert f"cobre simulate {case} --policy {output / 'policy'}" in errors


def test_an_interrupted_simulation_writes_nothing(tmp_path: Path) -> None:
    output, policy = tmp_path / "output", tmp_path / "policy"
    cobre.train(EXAMPLE, stopping=[cobre.IterationLimit(2)], progress=False).policy.save(policy)
    command = ["simulate", str(EXAMPLE), "--policy", str(policy), "--output", str(output)]
    with start([*COBRE, *command, "--scenarios", str(10**8)]) as child:
        wait_for_record(output)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
    assert child.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert not list(output.rglob("*.parquet"))
    with pytest.raises(cobre.IOError):
        cobre.SimulationResult.load(output)


def test_an_exception_of_the_callback_keeps_what_was_earned(tmp_path: Path) -> None:
    def refuse(event: cobre.ProgressEvent) -> None:
        if event.iteration == 3:
            raise LookupError("enough")

    output = tmp_path / "output"
    rules = [cobre.IterationLimit(10**9)]
    began = time.monotonic()
    with pytest.raises(LookupError, match="enough"):
        cobre.train(EXAMPLE, stopping=rules, progress=False, progress_callback=refuse, output_dir=output)
    assert time.monotonic() - began < 30.0
    assert cobre.Policy.load(output).iterations >= 3


def test_a_killed_training_leaves_the_directory_usable(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with start([sys.executable, "-c", CHILD, str(EXAMPLE), str(output)]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        os.kill(child.pid, signal.SIGKILL)
        child.communicate(timeout=30)
    with pytest.raises(cobre.IOError):
        cobre.TrainingResult.load(output)
    rules = [cobre.IterationLimit(2)]
    cobre.train(EXAMPLE, stopping=rules, progress=False, output_dir=output)
    assert cobre.TrainingResult.load(output).iterations == 2
    assert sorted(file.name for file in output.iterdir()) == ["policy", "run.json", "training"]
