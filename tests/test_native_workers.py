"""What the compiled part gives to processes that share a job, with real processes."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import cobre
from cobre import _core
from support import EXAMPLE, ROOT, copy_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ITERATIONS = 5
LIMIT_SECS = 120
"""For whatever should end by itself."""
LIFELINE_EXIT_CODE = 5

PROLOGUE = """
import hashlib, json, os, pickle, sys, threading
from cobre import _core

given = json.loads(sys.argv[1])
rank, size = given["rank"], given["size"]

def backend(**settings):
    if "descriptor" in given:
        return _core.Backend.shm(given["descriptor"], rank, size, **settings)
    listener = given["listener"] if rank == 0 else None
    return _core.Backend.tcp(given["coordinator"], rank, size, given["token"], listener=listener, **settings)

def tell(**facts):
    print(json.dumps(facts), flush=True)

def digest(policy):
    return hashlib.sha256(policy.to_bytes()).hexdigest()

def train(iterations, **options):
    case = _core.Case.load(given["case"])
    return _core.train(case, threads=1, seed=42, stopping=[("iteration_limit", iterations)], **options)
"""


@contextmanager
def ranks_of(kind: str, body: str, **given: object) -> Iterator[list[subprocess.Popen[str]]]:
    """Start two ranks of a job, which run the prologue and then `body`; neither outlives its test."""
    if kind == "shm":
        descriptor = os.memfd_create("cobre-test")
        given["descriptor"] = descriptor
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        given |= {"coordinator": f"127.0.0.1:{listener.getsockname()[1]}", "token": secrets.token_hex(16)}
        descriptor = listener.detach()
        given["listener"] = descriptor
    processes = []
    try:
        for rank in range(2):
            facts = {"rank": rank, "size": 2, "case": str(EXAMPLE), **given}
            processes.append(start(body, [descriptor], facts))
        os.close(descriptor)
        yield processes
    finally:
        for process in processes:
            end(process)


def finish(processes: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Wait for all and return what each told last."""
    told = []
    for process in processes:
        output, errors = process.communicate(timeout=LIMIT_SECS)
        assert process.returncode == 0, f"{output}\n{errors}"
        told.append(json.loads(output.splitlines()[-1]))
    return told


def start(body: str, descriptors: Sequence[int], given: dict[str, object]) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COBRE_")}
    # A backend that Python gave must not look at the variables of another job.
    environment |= {"COBRE_COMM_BACKEND": "tcp", "COBRE_TCP_RANK": "7", "COBRE_SHM_NAME": "/nobody"}
    return subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + body, json.dumps(given)],
        pass_fds=descriptors,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


@contextmanager
def running(body: str, descriptors: Sequence[int] = (), **given: object) -> Iterator[subprocess.Popen[str]]:
    process = start(body, descriptors, {"rank": 0, "size": 1, "case": str(EXAMPLE), **given})
    try:
        yield process
    finally:
        end(process)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(scope="module")
def case() -> _core.Case:
    return _core.Case.load(EXAMPLE)


@pytest.fixture(scope="module")
def alone(case: _core.Case) -> _core.TrainingResult:
    return _core.train(case, threads=1, seed=42, stopping=[("iteration_limit", ITERATIONS)])


@pytest.mark.parametrize("kind", ["shm", "tcp"])
def test_two_processes_train_and_simulate_what_one_does(
    kind: str, case: _core.Case, alone: _core.TrainingResult, tmp_path: Path
) -> None:
    body = f"""
result = train({ITERATIONS}, backend=backend())
if rank == 0:
    with open(given["policy"], "wb") as file:
        file.write(result.policy.to_bytes())
tell(digest=digest(result.policy), backend=result.backend, rank=result.rank, solves=result.solves,
     pivots=result.pivots, recoveries=result.recoveries, threads=result.threads,
     convergence=result.convergence.to_pydict())
"""
    policy_file = tmp_path / "policy"
    with ranks_of(kind, body, policy=str(policy_file)) as ranks:
        told = finish(ranks)
    assert policy_file.read_bytes() == alone.policy.to_bytes()
    assert told[0]["digest"] == told[1]["digest"]
    assert [(one["backend"], one["rank"], one["threads"]) for one in told] == [(kind, 0, 1), (kind, 1, 1)]
    assert all(one["convergence"] == alone.convergence.to_pydict() for one in told)
    for word in ("solves", "pivots", "recoveries"):
        assert sum(one[word] for one in told) == getattr(alone, word), word
    assert all(one["solves"] > 0 for one in told)
    assert (alone.backend, alone.rank) == (None, 0)

    body = """
with open(given["policy"], "rb") as file:
    policy = _core.Policy.from_bytes(file.read())
case = _core.Case.load(given["case"])
result = _core.simulate(case, policy, scenarios=30, seed=7, threads=1, backend=backend())
tell(costs=result.costs, tables=result.table_names, solves=result.solves, rank=result.rank)
"""
    with ranks_of(kind, body, policy=str(policy_file)) as ranks:
        told = finish(ranks)
    simulated = _core.simulate(case, alone.policy, scenarios=30, seed=7, threads=1)
    assert [one["costs"] for one in told] == [simulated.costs] * 2
    assert [one["tables"] for one in told] == [simulated.table_names, []]
    assert all(one["solves"] > 0 for one in told)


@pytest.mark.parametrize("kind", ["shm", "tcp"])
def test_a_token_stops_the_job_on_every_rank(kind: str) -> None:
    """Rank 1 is cancelled; both return, with the same policy, what was learned until then."""
    body = """
token = _core.CancelToken()
def callback(system, phase, iteration, *_):
    if rank == 1 and iteration == 3:
        threading.Thread(target=token.cancel).start()
result = train(100_000, backend=backend(), cancel=token, callback=callback)
tell(reason=result.termination_reason, iterations=result.iterations, digest=digest(result.policy),
     cancelled=token.is_cancelled)
"""
    with ranks_of(kind, body) as ranks:
        told = finish(ranks)
    assert [one["reason"] for one in told] == ["interrupted"] * 2
    assert [one["cancelled"] for one in told] == [False, True]
    assert told[0]["iterations"] == told[1]["iterations"] >= 3
    assert told[0]["digest"] == told[1]["digest"]


def test_a_token_stops_a_job_of_one_process(case: _core.Case, alone: _core.TrainingResult) -> None:
    token = _core.CancelToken()
    timer = threading.Timer(0.5, token.cancel)
    timer.start()
    result = _core.train(case, threads=1, stopping=[("iteration_limit", 1_000_000)], cancel=token)
    timer.join()
    assert (result.termination_reason, token.is_cancelled) == ("interrupted", True)
    with pytest.raises(cobre.CobreError) as raised:
        _core.simulate(case, alone.policy, scenarios=10, cancel=token)
    assert raised.value.kind == "Cancelled"


@pytest.mark.parametrize("kind", ["shm", "tcp"])
def test_a_rank_that_lets_the_other_wait_is_named(kind: str) -> None:
    body = """
def callback(system, phase, iteration, *_):
    if rank == 1 and iteration == 2:
        print(os.getpid(), flush=True)
def on_stall(operation, waited_secs, missing):
    tell(operation=operation, waited_secs=waited_secs, missing=missing)
    os._exit(0)
train(100_000, backend=backend(stall_notice_secs=0.3), callback=callback, on_stall=on_stall)
"""
    with ranks_of(kind, body) as ranks:
        stopped = int(first_line(ranks[1]))
        os.kill(stopped, signal.SIGSTOP)
        output, errors = ranks[0].communicate(timeout=LIMIT_SECS)
        assert output, errors
        stall = json.loads(output)
        assert stall["missing"] == [1]
        assert stall["waited_secs"] >= 0.3


@pytest.mark.parametrize("kind", ["shm", "tcp"])
def test_a_killed_rank_is_named_by_the_other(kind: str) -> None:
    body = """
from cobre import WorkerError
def callback(system, phase, iteration, *_):
    if rank == 1 and iteration == 2:
        os.kill(os.getpid(), 9)
try:
    train(100_000, backend=backend(), callback=callback)
except WorkerError as error:
    tell(kind=error.kind, rank=error.rank)
"""
    with ranks_of(kind, body) as ranks:
        output, errors = ranks[0].communicate(timeout=LIMIT_SECS)
        assert output, errors
        assert json.loads(output) == {"kind": "WorkerFailed", "rank": 1}
        assert ranks[1].wait(timeout=LIMIT_SECS) == -signal.SIGKILL


def test_a_stall_can_be_an_error() -> None:
    body = """
import cobre
def callback(system, phase, iteration, *_):
    if rank == 1 and iteration == 2:
        print(os.getpid(), flush=True)
try:
    train(100_000, backend=backend(timeout_secs=1), callback=callback)
except cobre.WorkerError as error:
    tell(message=str(error), kind=error.kind)
"""
    with ranks_of("shm", body) as ranks:
        os.kill(int(first_line(ranks[1])), signal.SIGSTOP)
        output, errors = ranks[0].communicate(timeout=LIMIT_SECS)
        assert output, errors
        told = json.loads(output)
        assert told["kind"] == "WorkerFailed"
        assert "rank 1" in told["message"]


def test_a_rank_that_does_not_come_is_named(case: _core.Case) -> None:
    token = secrets.token_hex(16)
    listener = socket.create_server(("127.0.0.1", 0))
    coordinator = f"127.0.0.1:{listener.getsockname()[1]}"
    tcp = _core.Backend.tcp(coordinator, 0, 2, token, listener=listener.detach(), connect_timeout_secs=0.2)
    descriptor = os.memfd_create("cobre-test")
    shm = _core.Backend.shm(descriptor, 0, 2, connect_timeout_secs=0.2)
    for backend in (tcp, shm):
        with pytest.raises(cobre.IOError, match="rank 1") as raised:
            _core.train(case, backend=backend)
        assert raised.value.kind == "BackendFailure"
    os.close(descriptor)


def test_a_backend_serves_one_job(case: _core.Case) -> None:
    descriptor = os.memfd_create("cobre-test")
    backend = _core.Backend.shm(descriptor, 0, 1)
    assert repr(backend) == "Backend(shm, rank 0 of 1)"
    result = _core.train(case, threads=1, stopping=[("iteration_limit", 1)], backend=backend)
    os.close(descriptor)
    assert (result.backend, result.rank) == ("shm", 0)
    with pytest.raises(cobre.CobreError, match="served a job") as raised:
        _core.train(case, threads=1, stopping=[("iteration_limit", 1)], backend=backend)
    assert raised.value.kind == "IncompatibleSettings"


def test_backends_that_cannot_be_are_refused(case: _core.Case) -> None:
    token = secrets.token_hex(16)
    with pytest.raises(cobre.CobreError, match="above zero") as raised:
        _core.Backend.shm(0, 0, 2, timeout_secs=0)
    assert raised.value.kind == "OutOfRange"
    with pytest.raises(cobre.CobreError) as raised:
        _core.Backend.tcp("127.0.0.1:1", 0, 2, "a secret")
    assert raised.value.kind == "OutOfRange"
    assert "secret" not in str(raised.value)
    with pytest.raises(cobre.CobreError, match="only rank 0"):
        _core.Backend.tcp("127.0.0.1:1", 1, 2, token, listener=0)
    with (EXAMPLE / "config.json").open() as file, pytest.raises(cobre.CobreError, match="no socket"):
        _core.Backend.tcp("127.0.0.1:1", 0, 2, token, listener=file.fileno())
    with pytest.raises(TypeError, match="timeout_secs"):
        _core.Backend.shm(0, 0, 2, timeout_sec=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="backend"):
        _core.train(case, backend="shm")  # type: ignore[arg-type]
    with pytest.raises(cobre.CobreError) as raised:
        _core.train(case, backend=_core.Backend.shm(0, 2, 2))
    assert raised.value.kind == "BackendFailure"


def test_a_listening_socket_closes_with_its_backend() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    backend = _core.Backend.tcp(
        f"127.0.0.1:{address[1]}", 0, 2, secrets.token_hex(16), listener=listener.detach()
    )
    socket.create_connection(address).close()
    del backend
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.parametrize("broken", ["before", "while watched"])
def test_a_process_ends_with_its_lifeline(broken: str) -> None:
    """Python itself may be busy, and the parent may have died before the process looked."""
    body = """
_core.watch_lifeline(given["lifeline"])
print("watching", flush=True)
while True:
    pass
"""
    reading, writing = os.pipe()
    if broken == "before":
        os.close(writing)
    with running(body, [reading], lifeline=reading) as process:
        os.close(reading)
        if broken != "before":
            assert first_line(process) == "watching"
            assert process.poll() is None
            os.close(writing)
        assert process.wait(timeout=LIMIT_SECS) == LIFELINE_EXIT_CODE


def test_a_lifeline_must_be_a_pipe() -> None:
    with (EXAMPLE / "config.json").open() as file, pytest.raises(cobre.CobreError, match="no pipe") as raised:
        _core.watch_lifeline(file.fileno())
    assert raised.value.kind == "BackendFailure"
    with pytest.raises(cobre.CobreError):
        _core.watch_lifeline(2**31)


def test_cases_survive_their_directory(tmp_path: Path, case: _core.Case) -> None:
    directory = copy_case(EXAMPLE, tmp_path / "case")
    native_overrides = '{"training": {"forward_passes": 3}}'
    native = _core.Case.load(directory, native_overrides)
    public = cobre.Case.load(directory, {"training": {"forward_passes": 3}})
    expected = cobre.Case.load(directory, {"training": {"forward_passes": 3, "enabled": False}})
    pickled = [pickle.dumps(one, protocol=5) for one in (native, public)]
    assert pickled[0] == pickle.dumps(_core.Case.load(directory, native_overrides), protocol=5)
    shutil.rmtree(directory)
    for twin in (pickle.loads(one) for one in pickled):  # noqa: S301
        assert (twin.name, str(twin.directory)) == ("case", str(directory))
        assert twin.problem_sha256 == case.problem_sha256
    twin = pickle.loads(pickled[1])  # noqa: S301
    assert twin.config == public.config
    assert twin.with_overrides({"training": {"enabled": False}}).config == expected.config
    with pytest.raises(cobre.ValidationError):
        twin.with_overrides({"training": {"forward_passes": 0}})
    result = cobre.train(
        twin, stopping=[cobre.IterationLimit(1)], output_dir=tmp_path / "out", progress=False
    )
    assert result.iterations == 1
    inputs = json.loads((tmp_path / "out" / "run.json").read_text())["training"]["inputs"]
    reference = cobre.train(
        EXAMPLE,
        config_overrides={"training": {"forward_passes": 3}},
        stopping=[cobre.IterationLimit(1)],
        output_dir=tmp_path / "reference",
        progress=False,
    )
    assert reference.policy == result.policy
    assert inputs == json.loads((tmp_path / "reference" / "run.json").read_text())["training"]["inputs"]


def test_a_case_travels_to_a_process_that_cannot_see_it(tmp_path: Path, alone: _core.TrainingResult) -> None:
    directory = copy_case(EXAMPLE, tmp_path / "case")
    parcel = tmp_path / "parcel"
    parcel.write_bytes(pickle.dumps(_core.Case.load(directory), protocol=5))
    shutil.rmtree(directory)
    body = f"""
with open(given["parcel"], "rb") as file:
    case = pickle.load(file)
result = _core.train(case, threads=1, seed=42, stopping=[("iteration_limit", {ITERATIONS})])
tell(digest=digest(result.policy), own=digest(pickle.loads(pickle.dumps(result.policy, protocol=5))))
"""
    with running(body, parcel=str(parcel)) as process:
        output, errors = process.communicate(timeout=LIMIT_SECS)
    assert output, errors
    digest = hashlib.sha256(alone.policy.to_bytes()).hexdigest()
    assert json.loads(output) == {"digest": digest, "own": digest}


def test_available_threads_follow_the_affinity() -> None:
    assert 1 <= _core.available_threads() <= len(os.sched_getaffinity(0))
    body = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nprint(_core.available_threads())"
    with running(body) as process:
        assert process.communicate(timeout=LIMIT_SECS)[0].strip() == "1"
