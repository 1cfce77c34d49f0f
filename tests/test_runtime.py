"""The supervisor of worker processes, with real processes."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

import cobre
from cobre.runtime._wire import Returned
from cobre.runtime.crew import run_job
from cobre.runtime.process import Payload, WorkerProcess, end_all, thread_limits
from processes import PATIENCE_SECS, children, is_alive, wait_until, workers

pytestmark = pytest.mark.usefixtures("nothing_left")

TESTS = Path(__file__).parent


def fail(function: str, value: object = None, size: int = 3) -> cobre.WorkerError:
    """Run a job that must fail, and soon."""
    began = time.monotonic()
    with pytest.raises(cobre.WorkerError) as caught:
        run_job(f"worker_tasks:{function}", value, size=size)
    assert time.monotonic() - began < PATIENCE_SECS
    return caught.value


def test_results_come_in_the_order_of_ranks() -> None:
    assert run_job("worker_tasks:introduce", "all", size=3) == [(rank, 3, "all") for rank in range(3)]
    assert run_job("worker_tasks:introduce", None, size=1) == [(0, 1, None)]


def test_events_come_in_order_and_in_this_thread() -> None:
    found: dict[int, list[object]] = {}
    threads = set()

    def note(rank: int, event: object) -> None:
        found.setdefault(rank, []).append(event)
        threads.add(threading.get_ident())

    run_job("worker_tasks:count", 2000, size=3, on_event=note)
    assert found == {rank: list(range(2000)) for rank in range(3)}
    assert threads == {threading.get_ident()}


def test_large_values_travel_whole() -> None:
    value = os.urandom(1 << 20) * 40
    assert run_job("worker_tasks:echo_on_rank_0", value, size=2) == [value, None]


def test_a_worker_has_what_its_parent_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COBRE_TEST_VARIABLE", "seen")
    monkeypatch.setenv("COBRE_COMM_LIFELINE", "3")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    environment = thread_limits(2)
    found = cast(
        "dict[str, Any]",
        run_job("worker_tasks:surroundings", "COBRE_TEST_VARIABLE", size=1, environment=environment)[0],
    )
    assert found["variable"] == "seen"
    assert found["threads"] == "2"
    assert found["directory"] == str(tmp_path)
    assert found["main"] is None
    assert [entry for entry in found["path"] if entry in sys.path] == sys.path
    assert found["flags"][1:] == (sys.warnoptions, dict(sys._xoptions))
    assert found["sigint"]
    assert not found["blocked"] & {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def test_a_worker_holds_only_its_own_pipes() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # noqa: FBT003 - the parameter has no name
    try:
        reports = run_job("worker_tasks:surroundings", "HOME", size=3)
    finally:
        os.close(reading)
        os.close(writing)
    for report in cast("list[dict[str, Any]]", reports):
        private = sorted(target.split(":")[0] for number, target in report["open"].items() if number > 2)
        assert private == ["/memfd", "/memfd", "pipe", "pipe", "socket"]
        assert report["inheritable"] == []


def test_the_parents_flags_are_handed_down() -> None:
    program = (
        "from cobre.runtime.crew import run_job\n"
        "print(run_job('worker_tasks:surroundings', 'HOME', size=1)[0]['flags'])"
    )
    paths = os.pathsep.join([str(Path(cobre.__file__).parents[1]), str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-B", "-X", "dev", "-W", "ignore::ImportWarning", "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "(1, ['default', 'ignore::ImportWarning'], {'dev': True})"


def test_logging_and_stderr_reach_the_parent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run_job("worker_tasks:speak", 10, size=2)
    texts = [record.getMessage() for record in caplog.records]
    assert {"[rank 0] rank is 0", "[rank 1] rank is 1"} <= set(texts)
    assert not [text for text in texts if "nobody asked" in text]
    assert any(text.startswith("[rank 1] it went wrong\nTraceback") for text in texts)
    last = [text for text in texts if text.startswith("[rank 1] stderr:")]
    assert len(last) == 1
    assert last[0].endswith("xxend of 1")


def test_the_end_of_a_long_stderr_is_kept() -> None:
    with WorkerStarted("speak", 1 << 20) as process:
        wait_until(lambda: list(process.messages()) is not None and process.exit_code is not None)
        end_all([process])
        assert len(process.stderr_tail) == 1 << 16
        assert process.stderr_tail.endswith("xend of 0\n")


class WorkerStarted:
    """One worker with one task."""

    def __init__(self, function: str, value: object) -> None:
        self.payload = Payload(value)
        self.process = WorkerProcess(0, 1, inherited=[self.payload.descriptor])
        self.process.give(f"worker_tasks:{function}", self.payload)

    def __enter__(self) -> WorkerProcess:
        return self.process

    def __exit__(self, *_: object) -> None:
        end_all([self.process])
        self.payload.close()


def next_message(process: WorkerProcess) -> object:
    found: list[object] = []
    while not found:
        found.extend(process.messages())
        time.sleep(0.002)
    return found[0]


def test_a_worker_that_stays_takes_one_task_after_another() -> None:
    payload = Payload("again")
    process = WorkerProcess(5, 8, inherited=[payload.descriptor], stays=True)
    try:
        for function in ("introduce", "return_a_lock", "introduce"):
            process.give(f"worker_tasks:{function}", payload)
            outcome = next_message(process)
            if function == "introduce":
                assert isinstance(outcome, Returned)
                assert process.result(outcome) == (5, 8, "again")
            assert process.exit_code is None
    finally:
        end_all([process, process])
        payload.close()


@pytest.mark.parametrize("size", [1, 3])
def test_an_error_of_cobre_arrives_as_it_is(size: int) -> None:
    told = cobre.SolverError("no solution", kind="SolverFailure", context={"stage": 3}, suggestion="look")
    error = fail("fail_as_told", {0: told}, size)
    assert (error.rank, error.exit_code, error.kind) == (0, 1, "WorkerFailed")
    assert isinstance(error.inner, cobre.SolverError)
    assert error.inner.stage == 3
    assert "no solution" in str(error)
    assert "fail_as_told" in str(error.__cause__)
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(copied.inner, cobre.SolverError)
    assert str(copied) == str(error)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("fail_privately", "for this process alone"),
        ("return_a_lock", "cannot pickle"),
        ("no_such_function", "no_such_function"),
    ],
)
def test_whatever_is_raised_arrives(function: str, words: str) -> None:
    error = fail(function, size=1)
    assert error.inner is not None
    assert words in error.inner.message
    assert "Traceback" in str(error.__cause__)


def test_another_error_has_its_traceback() -> None:
    error = fail("fail_as_told", {1: LookupError("not there")})
    assert error.inner is not None
    assert (error.rank, error.inner.kind, error.inner.message) == (
        1,
        "InternalPanic",
        "LookupError: not there",
    )
    assert "raise errors[worker.rank]" in str(error.__cause__)


@pytest.mark.parametrize(
    ("how", "number", "code"),
    [
        ("signal", signal.SIGKILL, -9),
        ("signal", signal.SIGSEGV, -11),
        ("signal", signal.SIGABRT, -6),
        ("exit", 0, 0),
        ("exit", 7, 7),
        ("at once", 0, 0),
        ("at once", 3, 3),
    ],
)
def test_a_worker_that_dies_is_named(how: str, number: int, code: int) -> None:
    error = fail("end_as_told", (2, how, number))
    assert (error.rank, error.exit_code, error.inner, error.others) == (2, code, None, [])
    assert error.stderr.startswith("last words")
    assert "last words" in str(error)
    assert error.__cause__ is None


def test_a_worker_that_talks_without_an_end_is_not_the_only_one_heard() -> None:
    error = fail("chatter", size=2)
    assert (error.rank, error.exit_code, error.inner) == (1, 4, None)


def test_a_crash_of_native_code_leaves_a_trace() -> None:
    error = fail("crash", size=2)
    assert (error.rank, error.exit_code, error.inner) == (1, -signal.SIGSEGV, None)
    assert "in crash" in error.stderr


def test_a_worker_may_die_while_it_returns() -> None:
    error = fail("die_while_returning", size=2)
    assert (error.rank, error.exit_code, error.inner) == (1, -signal.SIGKILL, None)


def test_the_cause_comes_before_its_consequences() -> None:
    lost = cobre.WorkerError("rank 1 was lost", context={"rank": 1})
    broken = cobre.CobreError("communication failed", kind="BackendFailure")
    error = fail("fail_as_told", {0: lost, 1: ValueError("this is why"), 2: broken})
    assert error.rank == 1
    assert error.inner is not None
    assert "this is why" in error.inner.message
    assert sorted(cast("int", other.rank) for other in error.others) == [0, 2]


def test_where_all_report_of_others_the_named_one_is_told() -> None:
    lost = cobre.WorkerError("rank 2 was lost", context={"rank": 2})
    error = fail("fail_as_told", {0: lost, 1: lost})
    assert error.rank == 2
    assert error.inner is not None
    assert error.inner.message == "rank 2 was lost"
    assert error.exit_code is None
    assert "worker 2 did not answer" in str(error)
    assert sorted(cast("int", other.rank) for other in error.others) == [0, 1]


def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(cobre.IOError, match="could not be started") as caught:
        run_job("worker_tasks:introduce", None, size=2)
    assert caught.value.kind == "BackendFailure"


def test_a_value_that_cannot_be_sent() -> None:
    with pytest.raises(TypeError, match="pickle"):
        run_job("worker_tasks:introduce", threading.Lock(), size=2)


def test_a_callback_that_raises_stops_the_job(tmp_path: Path) -> None:
    def refuse(_rank: int, _event: object) -> None:
        raise LookupError("enough")

    began = time.monotonic()
    with pytest.raises(LookupError, match="enough"):
        run_job("worker_tasks:wait_for_stop", str(tmp_path), size=2, stop_secs=30.0, on_event=refuse)
    assert time.monotonic() - began < PATIENCE_SECS
    assert sorted(place.name for place in tmp_path.glob("stopped-*")) == ["stopped-0", "stopped-1"]


def test_workers_that_do_not_stop_are_killed() -> None:
    def refuse(_rank: int, _event: object) -> None:
        raise LookupError("enough")

    began = time.monotonic()
    with pytest.raises(LookupError):
        run_job("worker_tasks:ignore_stop", None, size=2, on_event=refuse)
    assert time.monotonic() - began < PATIENCE_SECS


def test_other_threads_may_run_jobs() -> None:
    results: list[object] = []

    def work() -> None:
        results.append(run_job("worker_tasks:introduce", "thread", size=2))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[(0, 2, "thread"), (1, 2, "thread")]] * 3


def script(text: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program in a session of its own: its signals are none for pytest."""
    paths = os.pathsep.join([str(Path(cobre.__file__).parents[1]), str(TESTS)])
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


WAITING = """
import sys
from cobre.runtime.crew import run_job

def tell(rank, event):
    print(event, flush=True)

run_job("worker_tasks:" + sys.argv[1], sys.argv[2], size=2, stop_secs=float(sys.argv[3]), on_event=tell)
"""


@pytest.mark.parametrize("to_all", [False, True], ids=["parent alone", "the whole group"])
def test_ctrl_c_stops_in_order(to_all: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter of pytest
    with script(WAITING, "wait_for_stop", tmp_path, 30.0) as program:
        assert program.stdout is not None
        assert [program.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        (os.killpg if to_all else os.kill)(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=PATIENCE_SECS)
    assert program.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert len(list(tmp_path.glob("stopped-*"))) == 2


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with script(WAITING, "ignore_stop", tmp_path, 600.0) as program:
        assert program.stdout is not None
        assert [program.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        pids = workers(program.pid)
        program.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert program.poll() is None
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=PATIENCE_SECS)
    assert len(pids) == 2
    assert not [pid for pid in pids if is_alive(pid)]


def test_ctrl_c_while_workers_start(tmp_path: Path) -> None:
    with script(WAITING, "wait_for_stop", tmp_path, 30.0) as program:
        wait_until(lambda: workers(program.pid))
        os.killpg(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=30)
    assert program.returncode == -signal.SIGINT, errors


@pytest.mark.parametrize("function", ["wait_for_stop", "ignore_stop"])
def test_workers_do_not_outlive_their_parent(function: str, tmp_path: Path) -> None:
    with script(WAITING, function, tmp_path, 30.0) as program:
        assert program.stdout is not None
        assert [program.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        pids = workers(program.pid)
        program.kill()
        program.communicate(timeout=PATIENCE_SECS)
    assert len(pids) == 2
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)], PATIENCE_SECS)


def test_the_exit_of_the_parent_ends_workers(tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        "from cobre.runtime.crew import run_job\n"
        "ready = threading.Semaphore(0)\n"
        "def note(rank, event):\n"
        "    ready.release()\n"
        "def work():\n"
        "    run_job('worker_tasks:ignore_stop', None, size=2, on_event=note)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "for _ in range(2):\n"
        "    ready.acquire()\n"
        "print('leaving', flush=True)\n"
        "sys.stdin.readline()"
    )
    paths = os.pathsep.join([str(Path(cobre.__file__).parents[1]), str(TESTS)])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "leaving\n"
        pids = workers(parent.pid)
        parent.communicate("go\n", timeout=PATIENCE_SECS)
    assert parent.returncode == 0
    assert len(pids) == 2
    assert not [pid for pid in pids if is_alive(pid)]


def test_a_fork_of_the_parent_leaves_the_workers_alone() -> None:
    with WorkerStarted("ignore_stop", None) as process:
        wait_until(lambda: list(process.messages()))
        program = os.fork()
        if program == 0:
            from cobre.runtime import process as module  # noqa: PLC0415

            module._end_the_living()
            os._exit(0)
        os.waitpid(program, 0)
        assert process.pid in children(os.getpid())
        assert process.exit_code is None
