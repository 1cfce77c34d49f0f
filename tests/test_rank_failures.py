"""Ranks that fail, die or are stopped, on every backend: how the job ends, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from support import EXAMPLE, dry_case, result_bytes
from test_backends import BINARY, environment, execute, free_port, mpi_binary

MPIS = ["openmpi", "mpich"]
ITERATIONS = 40
LIMIT_SECONDS = 120.0
OPTIONS = ["--threads", "1", "--quiet", "--seed", "11"]
MPI_VARIABLES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


def start(command: list[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A group of its own: what a launcher signals is not pytest.
        start_new_session=True,
    )


def start_job(backend: str, size: int, arguments: list[str], mark: str) -> list[subprocess.Popen[str]]:
    """Start a job: one process per rank, or the launcher of an MPI; all of them carry the mark."""
    variables = {"TEST_MARK": mark}
    if backend in MPIS:
        command = [f"mpirun.{backend}", "-n", str(size), str(mpi_binary(backend)), *arguments]
        return [start(command, MPI_VARIABLES | variables)]
    if backend == "shm":
        variables |= {"COBRE_SHM_NAME": f"/cobre-{mark}"}
    else:
        variables |= {"COBRE_TCP_COORDINATOR": f"127.0.0.1:{free_port()}"}
    prefix = f"COBRE_{backend.upper()}"
    place = [{f"{prefix}_RANK": str(rank), f"{prefix}_SIZE": str(size)} for rank in range(size)]
    return [start([str(BINARY), *arguments], variables | own) for own in place]


def processes(mark: str) -> dict[int, list[str]]:
    """Find every process that carries the mark, with its command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TEST_MARK={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text().split("\0")
    return found


def ranks(mark: str) -> list[int]:
    return [pid for pid, words in processes(mark).items() if Path(words[0]).name == "cobre-mpi"]


class Job:
    """A job of ranks, whose processes and segments carry a mark of its own."""

    def __init__(self, backend: str, size: int, arguments: list[str]) -> None:
        self.mark = uuid.uuid4().hex
        self.started = start_job(backend, size, arguments, self.mark)

    def finish(self) -> list[tuple[int, str]]:
        """Wait for exit codes and outputs. Demand that no process is left, and no shared memory of ours."""
        try:
            texts = [process.communicate(timeout=LIMIT_SECONDS)[0] for process in self.started]
            # A launcher may return before its ranks are gone.
            until = time.monotonic() + LIMIT_SECONDS
            while processes(self.mark):
                assert time.monotonic() < until, f"left: {processes(self.mark)}"
                time.sleep(0.05)
        finally:
            for pid in processes(self.mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self.started:
                process.wait()
        # Other jobs of this machine may have segments of their own.
        assert not [*Path("/dev/shm").glob(f"*{self.mark}*")]  # noqa: S108 - where segments have their names
        return [(process.returncode, text) for process, text in zip(self.started, texts, strict=True)]

    def await_checkpoint(self, output: Path) -> None:
        until = time.monotonic() + LIMIT_SECONDS
        while not (output / "training" / "checkpoint.bin").exists():
            assert time.monotonic() < until, "no checkpoint was written"
            time.sleep(0.02)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("backend", ["shm", "tcp", *MPIS])
def test_an_infeasible_stage_ends_the_job_with_3(backend: str, size: int, tmp_path: Path) -> None:
    case = dry_case(tmp_path / "case", 2)
    arguments = ["train", str(case), "--output", str(tmp_path / "output"), *OPTIONS]
    ended = Job(backend, size, arguments).finish()
    assert [code for code, _ in ended] == [3] * len(ended), ended
    texts = "\n".join(text for _, text in ended)
    assert texts.count("[SolverFailure]") == 1, "one rank speaks for all"
    assert "stage 2" in texts, texts
    assert "infeasible" in texts, texts


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("unbroken") / "output"
    execute("local", 1, training(output))
    return result_bytes(output)


def training(output: Path) -> list[str]:
    limits = ["--iterations", str(ITERATIONS), "--checkpoint-every", "1"]
    return ["train", str(EXAMPLE), "--output", str(output), *OPTIONS, *limits]


@pytest.mark.parametrize("backend", MPIS)
def test_a_killed_rank_ends_the_job_and_leaves_a_checkpoint(
    backend: str, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "output"
    job = Job(backend, 2, training(output))
    job.await_checkpoint(output)
    os.kill(max(ranks(job.mark)), signal.SIGKILL)
    [(code, text)] = job.finish()
    assert code != 0, text
    execute(backend, 2, [*training(output), "--resume"])
    assert result_bytes(output) == unbroken


@pytest.mark.parametrize("backend", MPIS)
def test_a_launcher_that_is_ended_leaves_a_checkpoint(
    backend: str, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "output"
    job = Job(backend, 2, training(output))
    job.await_checkpoint(output)
    job.started[0].send_signal(signal.SIGTERM)
    [(_, text)] = job.finish()
    if backend == "mpich":
        # This launcher hands the signal on and waits; its own exit code says nothing.
        assert "to go on: the same command with --resume" in text
    execute(backend, 2, [*training(output), "--resume"])
    assert result_bytes(output) == unbroken
