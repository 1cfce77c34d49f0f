"""Training and simulation by several processes: the same bytes, and workers wherever the caller is."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

import cobre
from processes import descriptors, leaving_nothing
from support import EXAMPLE, SHARED, copy_case, result_bytes, run_cobre
from test_interrupt import CHILD, PROMPT_SECONDS, large_case, start

pytestmark = pytest.mark.usefixtures("nothing_left")

LARGE = SHARED / "data" / "cases" / "4ree"
PLACES = [(backend, size) for backend in ("shm", "tcp") for size in (1, 2, 3, 4)]
BRIEF = [cobre.IterationLimit(2)]


def results(case: Path | cobre.Case, output: Path, iterations: int, **options: Any) -> dict[str, bytes]:  # noqa: ANN401 - as train takes them
    """Train and simulate, and return every byte that was written."""
    rules = [cobre.IterationLimit(iterations)]
    result = cobre.train(case, seed=11, stopping=rules, progress=False, output_dir=output, **options)
    loaded = cobre.TrainingResult.load(output)
    assert loaded == result
    assert result.convergence_history == loaded.convergence_history
    simulation = cobre.simulate(
        case, result.policy, scenarios=70, seed=5, progress=False, output_dir=output, **options
    )
    assert cobre.SimulationResult.load(output) == simulation
    return result_bytes(output)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return results(EXAMPLE, tmp_path_factory.mktemp("alone") / "output", 8)


@pytest.mark.parametrize(("backend", "size"), PLACES)
def test_workers_do_not_change_a_byte(
    backend: cobre.workers.Backend, size: int, alone: dict[str, bytes], tmp_path: Path
) -> None:
    assert {"policy/cuts.parquet", "training/convergence.parquet", "simulation/hydros.parquet"} < set(alone)
    assert results(EXAMPLE, tmp_path / "output", 8, num_workers=size, backend=backend) == alone


@pytest.fixture(scope="module")
def large_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    if not LARGE.exists():
        pytest.skip(f"{LARGE} is not on this machine: workers were not compared on it")
    return results(LARGE, tmp_path_factory.mktemp("large") / "output", 20)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "size"), PLACES)
def test_a_larger_case_has_the_same_bytes(
    backend: cobre.workers.Backend, size: int, large_alone: dict[str, bytes], tmp_path: Path
) -> None:
    assert results(LARGE, tmp_path / "output", 20, num_workers=size, backend=backend) == large_alone


def test_results_without_files(example: cobre.Case) -> None:
    rules = [cobre.IterationLimit(4)]
    single = cobre.train(example, seed=1, stopping=rules, progress=False)
    shared = cobre.train(example, seed=1, stopping=rules, progress=False, num_workers=2)
    assert shared == single
    assert shared.policy == single.policy
    one = cobre.simulate(example, single.policy, scenarios=30, seed=2, progress=False)
    two = cobre.simulate(example, single.policy, scenarios=30, seed=2, progress=False, num_workers=2)
    assert two == one
    for name in one.table_names:
        assert two.table(name) == one.table(name)


def test_overrides_reach_the_workers() -> None:
    overrides = {"training": {"forward_passes": 3}}
    single, shared = (
        cobre.train(
            EXAMPLE, seed=1, config_overrides=overrides, stopping=BRIEF, progress=False, num_workers=size
        )
        for size in (1, 2)
    )
    assert shared == single
    assert single != cobre.train(EXAMPLE, seed=1, stopping=BRIEF, progress=False)


def test_workers_read_no_files(tmp_path: Path) -> None:
    case = cobre.Case.load(copy_case(EXAMPLE, tmp_path / "case"), {"training": {"forward_passes": 5}})
    single = cobre.train(case, seed=1, stopping=BRIEF, progress=False)
    shutil.rmtree(tmp_path / "case")
    assert cobre.train(case, seed=1, stopping=BRIEF, progress=False, num_workers=2) == single


def test_workers_tell_what_they_did(example: cobre.Case) -> None:
    single = cobre.train(example, seed=1, stopping=BRIEF, progress=False)
    assert single.workers is None
    result = cobre.train(example, seed=1, stopping=BRIEF, progress=False, num_workers=3, backend="tcp")
    assert result.workers is not None
    assert [worker.rank for worker in result.workers] == [0, 1, 2]
    assert {(worker.backend, worker.threads) for worker in result.workers} == {("tcp", 1)}
    solves = sum(record.stage_solves for record in result.convergence_history)
    assert sum(worker.solves for worker in result.workers) >= solves
    assert all(worker.pivots > 0 for worker in result.workers)
    assert all(worker.wall_time_ms > 0 for worker in result.workers)
    assert all(1 << 20 < worker.peak_memory_bytes < 1 << 34 for worker in result.workers)
    assert pickle.loads(pickle.dumps(result)).workers == result.workers  # noqa: S301
    simulation = cobre.simulate(example, result.policy, scenarios=9, progress=False, num_workers=2)
    assert simulation.workers is not None
    assert [worker.backend for worker in simulation.workers] == ["shm", "shm"]


def test_every_worker_tells_every_iteration(example: cobre.Case) -> None:
    events: list[cobre.ProgressEvent] = []
    threads = set()

    def note(event: cobre.ProgressEvent) -> None:
        events.append(event)
        threads.add(threading.get_ident())

    rules = [cobre.IterationLimit(4)]
    cobre.train(example, stopping=rules, progress=False, progress_callback=note, num_workers=2)
    assert threads == {threading.get_ident()}
    for rank in (0, 1):
        own = [event for event in events if event.worker_id == rank]
        assert [event.phase for event in own] == ["started", *["progress"] * 4, "finished"]
        assert [event.iteration for event in own if event.phase == "progress"] == [1, 2, 3, 4]
    assert {event.worker_id for event in events} == {0, 1}


def test_the_display_follows_the_first_worker(example: cobre.Case, capfd: pytest.CaptureFixture[str]) -> None:
    cobre.train(example, stopping=BRIEF, progress=True, num_workers=2)
    lines = [line for line in capfd.readouterr().err.splitlines() if "iteration 2/2" in line]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"num_workers": 0}, "OutOfRange", "at least 1"),
        ({"num_workers": -3}, "OutOfRange", "at least 1"),
        ({"restarts": -1}, "OutOfRange", "at least 0"),
        ({"backend": "mpi"}, "IncompatibleSettings", "cobre-mpi under mpirun"),
        ({"backend": "gloo"}, "IncompatibleSettings", "auto, local, shm, tcp"),
        ({"backend": None}, "IncompatibleSettings", "auto, local, shm, tcp"),
        ({"backend": "local", "num_workers": 2}, "IncompatibleSettings", "shm or tcp for 2 workers"),
        ({"restarts": 1, "num_workers": 2}, "IncompatibleSettings", "output_dir"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], kind: str, words: str) -> None:
    with pytest.raises(cobre.ValidationError) as caught:
        cobre.train(EXAMPLE, stopping=BRIEF, progress=False, **options)
    assert caught.value.kind == kind
    assert words in str(caught.value)


def test_a_number_of_workers_is_a_number() -> None:
    with pytest.raises(TypeError, match="num_workers"):
        cobre.train(EXAMPLE, num_workers=cast("int", 2.0))


@pytest.mark.parametrize("backend", ["auto", "local", "shm", "tcp"])
def test_one_worker_is_this_process(backend: cobre.workers.Backend, example: cobre.Case) -> None:
    found: list[int] = []

    def note(event: cobre.ProgressEvent) -> None:
        assert event.worker_id is None
        found.append(os.getpid())

    result = cobre.train(
        example, stopping=BRIEF, progress=False, progress_callback=note, num_workers=1, backend=backend
    )
    assert result.workers is None
    assert set(found) == {os.getpid()}


def test_a_program_that_forks_is_refused(tmp_path: Path) -> None:
    program = (
        "import multiprocessing, cobre\n"
        "multiprocessing.set_start_method('fork')\n"
        "cobre.train(cobre.example_case(), stopping=[cobre.IterationLimit(1)])\n"
        "try:\n"
        "    cobre.train(cobre.example_case(), num_workers=2)\n"
        "except cobre.CobreError as error:\n"
        "    print(error.kind, error)\n"
        "multiprocessing.set_start_method('spawn', force=True)\n"
        "result = cobre.train(cobre.example_case(), num_workers=2, stopping=[cobre.IterationLimit(1)])\n"
        "print(len(result.workers), multiprocessing.get_start_method())"
    )
    done = run_cobre(program=[sys.executable, "-c", program], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused, advice, *_, last = done.stdout.splitlines()
    assert refused.startswith("IncompatibleSettings")
    assert 'set_start_method("spawn", force=True)' in done.stdout
    assert last == "2 spawn"
    assert advice


def test_the_start_method_is_left_alone(example: cobre.Case) -> None:
    before = multiprocessing.get_start_method(allow_none=True)
    cobre.train(example, stopping=BRIEF, progress=False, num_workers=2)
    assert multiprocessing.get_start_method(allow_none=True) == before


def test_too_many_threads_are_told(example: cobre.Case) -> None:
    with pytest.warns(RuntimeWarning, match="2 workers of 999 threads") as caught:
        cobre.workers.check_ranks(2, "auto", 999, 0)
    assert len(caught) == 1
    with pytest.warns(RuntimeWarning) as caught:
        cobre.train(example, stopping=BRIEF, progress=False, num_workers=2, threads=20)
    assert caught[0].filename == __file__


class TestCoordinator:
    @pytest.mark.parametrize("place", ["127.0.0.1", "localhost", "127.0.0.1:0", "[::1]", "[::1]:0", "::1"])
    def test_it_selects_tcp(self, place: str, example: cobre.Case, monkeypatch: pytest.MonkeyPatch) -> None:
        if "::" in place and not Path("/proc/net/if_inet6").exists():
            pytest.skip("this machine has no IPv6: that address was not used")
        monkeypatch.setenv("COBRE_TCP_COORDINATOR", place)
        result = cobre.train(example, stopping=BRIEF, progress=False, num_workers=2)
        assert result.workers is not None
        assert {worker.backend for worker in result.workers} == {"tcp"}

    def test_a_word_goes_first(self, example: cobre.Case, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COBRE_TCP_COORDINATOR", "127.0.0.1")
        result = cobre.train(example, stopping=BRIEF, progress=False, num_workers=2, backend="shm")
        assert result.workers is not None
        assert {worker.backend for worker in result.workers} == {"shm"}

    @pytest.mark.parametrize("place", ["10.1.2.3:29500", "node7", "[2001:db8::1]:80"])
    def test_other_machines_are_refused(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COBRE_TCP_COORDINATOR", place)
        with pytest.raises(cobre.ValidationError, match="cobre-mpi") as caught:
            cobre.train(EXAMPLE, stopping=BRIEF, progress=False, num_workers=2)
        assert caught.value.kind == "IncompatibleSettings"

    @pytest.mark.parametrize("place", ["127.0.0.1:port", "127.0.0.1:70000", "[::1]:-1"])
    def test_ports_that_are_none(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COBRE_TCP_COORDINATOR", place)
        with pytest.raises(cobre.ValidationError, match="COBRE_TCP_COORDINATOR"):
            cobre.train(EXAMPLE, stopping=BRIEF, progress=False, num_workers=2)

    def test_a_port_in_use(self, example: cobre.Case, monkeypatch: pytest.MonkeyPatch) -> None:
        import socket  # noqa: PLC0415

        with socket.create_server(("127.0.0.1", 0)) as taken:
            monkeypatch.setenv("COBRE_TCP_COORDINATOR", f"127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(cobre.IOError, match="no place to meet") as caught:
                cobre.train(example, stopping=BRIEF, progress=False, num_workers=2)
        assert caught.value.kind == "BackendFailure"

    def test_a_timeout_that_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COBRE_SHM_TIMEOUT_SECS", "soon")
        with pytest.raises(cobre.ValidationError, match="COBRE_SHM_TIMEOUT_SECS"):
            cobre.train(EXAMPLE, stopping=BRIEF, progress=False, num_workers=2)


UNGUARDED = """
import threading
import cobre

print("top of the script")
threading.Thread(target=threading.Event().wait, daemon=True).start()
result = cobre.train(cobre.example_case(), num_workers=2, stopping=[cobre.IterationLimit(2)], progress=False)
print(len(result.workers), result.iterations)
"""


@pytest.mark.parametrize("how", ["file", "-c", "stdin"])
def test_scripts_need_no_guard(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    arguments = {"file": [str(script)], "-c": ["-c", UNGUARDED], "stdin": ["-"]}[how]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=UNGUARDED if how == "stdin" else "",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["top of the script", "2 2"]


def test_a_notebook_trains_with_workers(tmp_path: Path) -> None:
    for library in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(library, reason=f"{library} is not installed: notebooks were not checked")
    program = (
        "import nbformat, nbclient\n"
        "from nbformat.v4 import new_notebook, new_code_cell\n"
        f"cell = new_code_cell({UNGUARDED!r})\n"
        "notebook = new_notebook(cells=[cell])\n"
        "nbclient.NotebookClient(notebook, timeout=120, kernel_name='python3').execute()\n"
        "print(''.join(output.text for output in notebook.cells[0].outputs if output.name == 'stdout'))"
    )
    done = run_cobre(program=[sys.executable, "-c", program], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["top of the script", "2 2"]


def test_another_thread_may_train(example: cobre.Case) -> None:
    found: list[cobre.TrainingResult] = []

    def work() -> None:
        found.append(cobre.train(example, stopping=BRIEF, seed=1, progress=False, num_workers=2))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [cobre.train(example, stopping=BRIEF, seed=1, progress=False)]


@pytest.mark.slow
def test_run_after_run_leaves_nothing(example: cobre.Case) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def train(backend: cobre.workers.Backend) -> None:
        rules = [cobre.IterationLimit(1)]
        cobre.train(example, stopping=rules, progress=False, num_workers=2, backend=backend)

    train("shm")
    train("tcp")
    memory, before = resident(), descriptors()
    for run in range(50):
        with leaving_nothing():
            train("tcp" if run % 2 else "shm")
    assert descriptors() == before
    assert resident() - memory < 8 << 20


@pytest.mark.parametrize("backend", ["shm", "tcp"])
def test_ctrl_c_keeps_what_was_earned(backend: str, tmp_path: Path) -> None:
    case, output = large_case(), tmp_path / "output"
    program = CHILD.replace("progress=False", f"progress=False, num_workers=2, backend={backend!r}")
    with start([sys.executable, "-c", program, str(case), str(output)]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        sent = time.time()
        os.killpg(child.pid, signal.SIGINT)
        text, errors = child.communicate(timeout=30)
    assert child.returncode == 130, errors
    assert float(text.splitlines()[-1]) - sent < 4.0 * PROMPT_SECONDS
    result = cobre.TrainingResult.load(output)
    assert result.termination_reason == "interrupted"
    assert result.iterations == cobre.Policy.load(output).iterations >= 3


def test_ctrl_c_stops_a_simulation(trained: cobre.TrainingResult, tmp_path: Path) -> None:
    output, policy = tmp_path / "output", tmp_path / "policy"
    trained.policy.save(policy)
    program = (
        "import sys, cobre\n"
        "def tell(event):\n"
        "    print(event.phase, flush=True)\n"
        "cobre.simulate(*sys.argv[1:3], output_dir=sys.argv[3], scenarios=10**8, num_workers=2,\n"
        "               progress=False, progress_callback=tell)"
    )
    with start([sys.executable, "-c", program, str(EXAMPLE), str(policy), str(output)]) as child:
        assert child.stdout is not None
        child.stdout.readline()
        os.killpg(child.pid, signal.SIGINT)
        child.communicate(timeout=30)
    assert child.returncode == -signal.SIGINT
    assert not list(output.rglob("*.parquet"))


def test_a_callback_that_raises_keeps_what_was_earned(example: cobre.Case, tmp_path: Path) -> None:
    def refuse(event: cobre.ProgressEvent) -> None:
        if event.iteration == 3 and event.worker_id == 1:
            raise LookupError("enough")

    rules = [cobre.IterationLimit(10**9)]
    output = tmp_path / "output"
    with pytest.raises(LookupError, match="enough"):
        cobre.train(
            example,
            stopping=rules,
            progress=False,
            progress_callback=refuse,
            output_dir=output,
            num_workers=2,
        )
    assert cobre.Policy.load(output).iterations >= 3


def test_the_command_takes_workers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    few = ("--iterations", "3", "--seed", "1")
    single, shared = tmp_path / "single", tmp_path / "shared"
    assert run_cobre("train", EXAMPLE, "--output", single, *few).returncode == 0
    options = ("--workers", "2", "--backend", "tcp", "--restarts", "1")
    done = run_cobre("train", EXAMPLE, "--output", shared, *few, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert result_bytes(shared) == result_bytes(single)
    for output, more in ((single, ()), (shared, ("--workers", "2"))):
        done = run_cobre(
            *("simulate", EXAMPLE, "--policy", output, "--output", output, "--scenarios", "9", *more)
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert result_bytes(shared) == result_bytes(single)
    refused = run_cobre("train", EXAMPLE, "--output", tmp_path / "none", "--workers", "2", "--backend", "mpi")
    assert refused.returncode == 2
    assert "mpirun" in refused.stderr
