"""The native binary over every backend and number of ranks, against one process, byte for byte."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from support import EXAMPLE, SHARED, copy_case, edit_json, result_bytes

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache" / "cobre" / "target"))
BINARY = TARGET / "release" / "cobre-mpi"
LARGE = SHARED / "data" / "cases" / "4ree"
SIZES = [1, 2, 3, 4]


def mpi_binary(name: str) -> Path:
    """Find the binary of an MPI, or skip the test aloud."""
    binary = TARGET / "mpi" / name / "cobre-mpi"
    if shutil.which(f"mpirun.{name}") is None:
        pytest.skip(f"mpirun.{name} is not on this machine: this MPI was not checked")
    if not binary.exists():
        pytest.skip(f"{binary} is not there (make mpi builds it): this MPI was not checked")
    return binary


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COBRE_")}
    return kept | variables


def run_ranks(arguments: list[str], size: int, variables: dict[str, str], prefix: str) -> None:
    """Run one process per rank and demand that all end well."""
    ranks = [
        subprocess.Popen(
            [BINARY, *arguments],
            env=environment(**variables, **{f"{prefix}_RANK": str(rank), f"{prefix}_SIZE": str(size)}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        outputs = [rank.communicate(timeout=240)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    codes = [rank.returncode for rank in ranks]
    assert codes == [0] * size, "\n".join(outputs)


def execute(backend: str, size: int, arguments: list[str]) -> None:
    """Run the binary on a backend with a number of ranks."""
    if backend == "local":
        subprocess.run([BINARY, *arguments], env=environment(), check=True, timeout=240, capture_output=True)
    elif backend == "shm":
        name = f"/cobre-test-{uuid.uuid4().hex[:12]}"
        run_ranks(arguments, size, {"COBRE_COMM_BACKEND": "shm", "COBRE_SHM_NAME": name}, "COBRE_SHM")
    elif backend == "tcp":
        place = f"127.0.0.1:{free_port()}"
        run_ranks(arguments, size, {"COBRE_COMM_BACKEND": "tcp", "COBRE_TCP_COORDINATOR": place}, "COBRE_TCP")
    else:
        variables = {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
        }
        ended = subprocess.run(
            [f"mpirun.{backend}", "-n", str(size), mpi_binary(backend), *arguments],
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def results(backend: str, size: int, case: Path, output: Path, iterations: int) -> dict[str, bytes]:
    """Train and simulate, and return every byte that was written."""
    common = ["--output", str(output), "--threads", "1", "--quiet"]
    limit = ["--seed", "11", "--iterations", str(iterations)]
    execute(backend, size, ["train", str(case), *common, *limit])
    execute(backend, size, ["simulate", str(case), *common, "--scenarios", "70", "--seed", "5"])
    return result_bytes(output)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return results("local", 1, EXAMPLE, tmp_path_factory.mktemp("local") / "output", 8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", ["shm", "tcp", "openmpi", "mpich"])
def test_backends_and_ranks_do_not_change_a_byte(
    backend: str, size: int, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    assert {"policy/cuts.parquet", "training/convergence.parquet"} < set(one_process)
    assert results(backend, size, EXAMPLE, tmp_path / "output", 8) == one_process


@pytest.mark.parametrize("backend", ["shm", "tcp", "openmpi"])
def test_more_ranks_than_paths(backend: str, tmp_path: Path) -> None:
    case = copy_case(EXAMPLE, tmp_path / "case")
    edit_json(case / "config.json", lambda content: content["training"].update(forward_passes=2))
    alone = results("local", 1, case, tmp_path / "alone", 4)
    assert results(backend, 5, case, tmp_path / "output", 4) == alone


@pytest.fixture(scope="module")
def large_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    if not LARGE.exists():
        pytest.skip(f"{LARGE} is not on this machine: the backends were not compared on it")
    return results("local", 1, LARGE, tmp_path_factory.mktemp("large") / "output", 20)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", ["shm", "tcp", "openmpi", "mpich"])
def test_a_larger_case_has_the_same_bytes(
    backend: str, size: int, large_alone: dict[str, bytes], tmp_path: Path
) -> None:
    assert results(backend, size, LARGE, tmp_path / "output", 20) == large_alone
