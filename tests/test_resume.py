from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import cobre
from support import COBRE, EXAMPLE, result_bytes

ITERATIONS = 16
OPTIONS: dict[str, Any] = {"seed": 9, "threads": 1, "progress": False}


def training(output: Path, iterations: int = ITERATIONS, **options: Any) -> cobre.TrainingResult:  # noqa: ANN401
    rules = [cobre.IterationLimit(iterations)]
    return cobre.train(EXAMPLE, stopping=rules, output_dir=output, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("unbroken") / "output"
    training(output)
    return result_bytes(output)


def killed_training(output: Path, every: int, moment: float) -> None:
    """Kill a training's process some time after its first checkpoint is there."""
    limits = ["--iterations", str(ITERATIONS), "--checkpoint-every", str(every)]
    command = [
        *COBRE,
        "train",
        str(EXAMPLE),
        "--output",
        str(output),
        "--seed",
        "9",
        "--threads",
        "1",
        *limits,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        checkpoint = output / "training" / "checkpoint.bin"
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and process.poll() is None:
            assert time.monotonic() < deadline, "no checkpoint was written"
            time.sleep(0.001)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("round_", range(4))
def test_a_killed_training_goes_on_to_the_same_bytes(
    round_: int, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    moments = random.Random(round_)  # noqa: S311 - nothing secret
    output = tmp_path / "output"
    killed_training(output, 1 + round_ % 3, moments.uniform(0.0, 0.6))
    resumed = training(output, resume=True, threads=1 + round_ % 2)
    assert resumed.iterations == ITERATIONS
    assert result_bytes(output) == unbroken


def test_stopping_and_going_on_changes_no_byte(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    output = tmp_path / "output"
    for iterations in (4, 9, ITERATIONS):
        result = training(output, iterations, resume=True)
        assert result.iterations == iterations
    assert result_bytes(output) == unbroken
    times = [record.elapsed_secs for record in result.convergence_history]
    assert times == sorted(times), "time goes on where it stopped"


def test_an_interrupted_training_goes_on(unbroken: dict[str, bytes], tmp_path: Path) -> None:
    def stop(event: cobre.ProgressEvent) -> None:
        if event.iteration == 7:
            raise KeyboardInterrupt

    output = tmp_path / "output"
    with pytest.raises(KeyboardInterrupt):
        training(output, progress_callback=stop)
    training(output, resume=True)
    assert result_bytes(output) == unbroken


def test_nothing_to_do_keeps_the_simulation(tmp_path: Path) -> None:
    output = tmp_path / "output"
    result = training(output, 3)
    cobre.simulate(EXAMPLE, result.policy, scenarios=4, output_dir=output, **OPTIONS)
    before = result_bytes(output)
    assert "simulation/summary.json" in before
    training(output, 3, resume=True)
    assert result_bytes(output) == before


def test_without_a_checkpoint_training_begins(tmp_path: Path) -> None:
    assert training(tmp_path / "output", 2, resume=True).iterations == 2


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"seed": 10}, "seed"),
        ({"config_overrides": {"training": {"forward_passes": 3}}}, "forward_passes"),
        ({"risk": cobre.CVaR(alpha=0.5, weight=0.5)}, "problem_sha256"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    change: dict[str, Any], names: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    training(output, 2)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with pytest.raises(cobre.ValidationError, match=f"another {names}") as caught:
        training(output, 4, resume=True, **change)
    assert caught.value.kind == "IncompatibleRuns"
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    output = tmp_path / "output"
    training(output, 2)
    file = output / "training" / "checkpoint.bin"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", b"text", whole[:50] + b"x" + whole[51:]):
        file.write_bytes(damaged)
        with pytest.raises(cobre.IOError, match="checkpoint") as caught:
            training(output, 4, resume=True)
        assert caught.value.kind == "OutputCorrupted"
        assert Path(str(caught.value.context["path"])) == file


def test_options_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(cobre.ValidationError, match="output directory"):
        cobre.train(EXAMPLE, resume=True, **OPTIONS)
    with pytest.raises(cobre.ValidationError, match="at least 1"):
        training(tmp_path / "output", checkpoint_every=0)


def test_a_kill_leaves_nothing_half_written(tmp_path: Path) -> None:
    output = tmp_path / "output"
    killed_training(output, 1, 0.05)
    training(output, 3, resume=True)
    assert not list(output.rglob(".cobre-draft-*"))


def test_a_kill_while_a_policy_is_replaced_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    script = (
        "import sys, cobre\n"
        "policies = [cobre.Policy.load(path) for path in sys.argv[1:3]]\n"
        "while True:\n"
        "    for policy in policies:\n"
        "        policy.save(sys.argv[3])\n"
        "        print('saved', flush=True)\n"
    )
    bounds = set()
    for iterations in (1, 2):
        bounds.add(training(tmp_path / str(iterations), iterations).policy.lower_bound)
    sources = [str(tmp_path / name / "policy") for name in ("1", "2")]
    target = tmp_path / "replaced"
    moments = random.Random(5)  # noqa: S311 - nothing secret
    for _ in range(12):
        command = [COBRE[0], "-c", script, *sources, str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0.0, 0.02))
            process.send_signal(signal.SIGKILL)
        assert cobre.Policy.load(target).lower_bound in bounds
