"""Workers that die, at every stage of a training: the caller learns which, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

import cobre
from processes import PATIENCE_SECS, is_alive, leaving_nothing, wait_until, workers
from support import COBRE, EXAMPLE, dry_case, result_bytes, run_cobre
from test_interrupt import CHILD, start

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("nothing_left")

FOR_EVER = [cobre.IterationLimit(10**9)]
ROUNDS = int(os.environ.get("COBRE_FAULT_ROUNDS", "20"))


class Attack:
    """Sends a signal to a worker at a moment of its choice, from another thread."""

    def __init__(self, rank: int, number: int, is_time: Callable[[list[int]], object]) -> None:
        self._target = (rank, number, is_time)
        self.when = 0.0
        self._thread = threading.Thread(target=self._strike)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _strike(self) -> None:
        rank, number, is_time = self._target
        own = os.getpid()
        wait_until(lambda: len(workers(own)) == 2)
        pids = workers(own)
        wait_until(lambda: is_time(pids))
        self.when = time.monotonic()
        os.kill(pids[rank], number)


def lose(**options: Any) -> cobre.WorkerError:  # noqa: ANN401 - as train takes them
    """Train until a worker dies."""
    with pytest.raises(cobre.WorkerError) as caught:
        cobre.train(EXAMPLE, stopping=FOR_EVER, progress=False, num_workers=2, **options)
    return caught.value


def has_loaded(pids: list[int]) -> bool:
    """Tell whether the compiled part is in both processes."""
    try:
        return all("_core.abi3" in Path(f"/proc/{pid}/maps").read_text() for pid in pids)
    except OSError:
        return False


MOMENTS = {"import": lambda _: True, "start-up": has_loaded}


@pytest.mark.parametrize("backend", ["shm", "tcp"])
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_dies_before_it_begins(moment: str, rank: int, backend: str) -> None:
    with Attack(rank, signal.SIGKILL, MOMENTS[moment]) as attack:
        error = lose(backend=backend)
    assert time.monotonic() - attack.when < PATIENCE_SECS
    assert (error.rank, error.exit_code, error.inner) == (rank, -signal.SIGKILL, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=lambda one: one.name)
@pytest.mark.parametrize("backend", ["shm", "tcp"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_dies_at_work(number: signal.Signals, backend: str, rank: int) -> None:
    struck: list[float] = []

    def strike(event: cobre.ProgressEvent) -> None:
        if event.iteration == 3 and not struck:
            struck.append(time.monotonic())
            os.kill(workers(os.getpid())[rank], number)

    error = lose(backend=backend, progress_callback=strike)
    assert time.monotonic() - struck[0] < PATIENCE_SECS
    assert (error.rank, error.exit_code, error.inner) == (rank, -number, None)
    assert {other.rank for other in error.others} <= {1 - rank}


@pytest.mark.parametrize("backend", ["shm", "tcp"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_dies_while_it_waits_for_another(backend: str, rank: int) -> None:
    struck: list[float] = []

    def strike(event: cobre.ProgressEvent) -> None:
        if event.iteration == 3 and not struck:
            pids = workers(os.getpid())
            os.kill(pids[1 - rank], signal.SIGSTOP)
            time.sleep(0.3)
            struck.append(time.monotonic())
            os.kill(pids[rank], signal.SIGKILL)

    error = lose(backend=backend, progress_callback=strike)
    assert time.monotonic() - struck[0] < PATIENCE_SECS
    assert (error.rank, error.exit_code, error.inner) == (rank, -signal.SIGKILL, None)


@pytest.mark.parametrize("backend", ["shm", "tcp"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_that_stalls_is_named(backend: str, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"COBRE_{backend.upper()}_TIMEOUT_SECS", "0.5")
    struck: list[float] = []

    def strike(event: cobre.ProgressEvent) -> None:
        if event.iteration == 3 and not struck:
            struck.append(time.monotonic())
            os.kill(workers(os.getpid())[rank], signal.SIGSTOP)

    error = lose(backend=backend, progress_callback=strike)
    assert time.monotonic() - struck[0] < 0.5 + PATIENCE_SECS
    assert (error.rank, error.exit_code) == (rank, None)
    assert error.inner is not None
    assert error.inner.kind == "WorkerFailed"
    assert [other.rank for other in error.others] == [1 - rank]


@pytest.mark.slow
def test_workers_die_at_any_time() -> None:
    moments = random.Random(20)  # noqa: S311 - a sequence that can be run again
    for _ in range(ROUNDS):
        rank, backend = moments.choice([0, 1]), moments.choice(["shm", "tcp"])
        number = moments.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
        delay = moments.uniform(0.0, 1.5)
        began = time.monotonic()

        def is_time(_: list[int], began: float = began, delay: float = delay) -> bool:
            return time.monotonic() - began > delay

        with leaving_nothing(), Attack(rank, number, is_time) as attack:
            error = lose(backend=backend)
            assert time.monotonic() - attack.when < PATIENCE_SECS
            assert (error.rank, error.exit_code, error.inner) == (rank, -number, None), (number, delay)


def test_a_worker_that_raises_is_named(tmp_path: Path) -> None:
    case = dry_case(tmp_path / "case", 3)
    with pytest.raises(cobre.SolverError) as single:
        cobre.train(case, stopping=FOR_EVER, seed=1, progress=False)
    with pytest.raises(cobre.WorkerError) as shared:
        cobre.train(case, stopping=FOR_EVER, seed=1, progress=False, num_workers=2)
    inner = shared.value.inner
    assert isinstance(inner, cobre.SolverError)
    assert (inner.stage, inner.kind) == (single.value.stage, single.value.kind)
    assert shared.value.exit_code == 1
    assert "Traceback" in str(shared.value.__cause__)
    output = tmp_path / "output"
    done = run_cobre("train", case, "--output", output, "--workers", "2", "--iterations", "9")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_tells_of_a_lost_worker(tmp_path: Path) -> None:
    arguments = ["--output", str(tmp_path / "output"), "--workers", "2", "--iterations", "1000000"]
    with start([*COBRE, "train", str(EXAMPLE), *arguments]) as command:
        wait_until(lambda: len(workers(command.pid)) == 2)
        os.kill(workers(command.pid)[1], signal.SIGKILL)
        text, errors = command.communicate(timeout=30)
    assert (command.returncode, text) == (5, "")
    assert "worker 1 was lost: it was ended by SIGKILL" in errors


def test_workers_do_not_outlive_a_killed_training(tmp_path: Path) -> None:
    program = CHILD.replace("progress=False", "progress=False, num_workers=2")
    with start([sys.executable, "-c", program, str(EXAMPLE), str(tmp_path / "output")]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        pids = workers(child.pid)
        child.kill()
        child.communicate(timeout=30)
    assert len(pids) == 2
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)], PATIENCE_SECS)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("unbroken") / "output"
    cobre.train(EXAMPLE, seed=4, stopping=[cobre.IterationLimit(8)], progress=False, output_dir=output)
    return result_bytes(output)


class TestRestarts:
    """A training that lost a worker ends with the bits of one that did not."""

    @staticmethod
    def train(output: Path, kills: list[int], **options: Any) -> cobre.TrainingResult:  # noqa: ANN401 - as train takes them
        """Train, with a worker killed at each of the given iterations."""

        def strike(event: cobre.ProgressEvent) -> None:
            if kills and event.iteration == kills[0] and event.phase == "progress":
                kills.pop(0)
                os.kill(workers(os.getpid())[1], signal.SIGKILL)

        return cobre.train(
            EXAMPLE,
            seed=4,
            stopping=[cobre.IterationLimit(8)],
            checkpoint_every=2,
            progress=False,
            progress_callback=strike,
            output_dir=output,
            num_workers=2,
            **options,
        )

    @pytest.mark.parametrize("kills", [[1], [5], [3, 6]], ids=str)
    def test_the_bits_are_those_of_an_unbroken_one(
        self,
        kills: list[int],
        unbroken: dict[str, bytes],
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        times = len(kills)
        result = self.train(tmp_path / "output", list(kills), restarts=times)
        assert result.iterations == 8
        assert result_bytes(tmp_path / "output") == unbroken
        assert f"restart {times} of {times}" in caplog.text

    def test_they_are_counted(self, tmp_path: Path) -> None:
        with pytest.raises(cobre.WorkerError) as caught:
            self.train(tmp_path / "output", [3, 4], restarts=1)
        assert caught.value.inner is None

    def test_a_checkpoint_of_another_training_is_not_taken(
        self, unbroken: dict[str, bytes], tmp_path: Path
    ) -> None:
        output = tmp_path / "output"
        cobre.train(EXAMPLE, seed=5, stopping=[cobre.IterationLimit(3)], progress=False, output_dir=output)
        self.train(output, [1], restarts=1)
        assert result_bytes(output) == unbroken

    def test_a_simulation_begins_again(self, trained: cobre.TrainingResult) -> None:
        kills = [1]

        def strike(_: cobre.ProgressEvent) -> None:
            if kills:
                kills.clear()
                os.kill(workers(os.getpid())[0], signal.SIGKILL)

        options: dict[str, Any] = {"scenarios": 40, "seed": 3, "progress": False}
        shared = cobre.simulate(
            EXAMPLE, trained.policy, num_workers=2, restarts=1, progress_callback=strike, **options
        )
        assert shared == cobre.simulate(EXAMPLE, trained.policy, **options)
        assert not kills

    def test_errors_are_not_tried_again(self, tmp_path: Path) -> None:
        case = dry_case(tmp_path / "case", 3)
        with pytest.raises(cobre.WorkerError) as caught:
            cobre.train(
                case,
                stopping=FOR_EVER,
                progress=False,
                num_workers=2,
                restarts=5,
                output_dir=tmp_path / "output",
            )
        assert isinstance(caught.value.inner, cobre.SolverError)
