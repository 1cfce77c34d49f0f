"""What several worker processes gain and cost: one, two and four of them, beside threads and a peer.

What is measured
    The seconds of a number of training iterations on two cases, with one worker, two workers over
    shared memory and over TCP, one worker of two threads, and cobre-rs/cobre 0.18.0 with one and two
    threads; the time that a whole process spends outside of training (interpreter, reading, start and
    end of workers, files); and the memory of all processes of a training, shared pages counted once
    (the proportional set size).

How
    Each run is a process of its own. They run in turns: every round runs each of them once, and each
    round begins with another one. Seconds of training come from the table that each program writes of
    its iterations. Memory is read from /proc every 20 ms, in runs of their own that are not timed.
    A speed-up is the median of one worker / the median of the other run: above 1, that is faster.

How to run it
    python benches/compare_workers.py           # makes the peer's environment on first use
    python benches/compare_workers.py --rounds 5 --scale 0.5

    Needs `cobre` and `pyarrow` in this interpreter, the cases of ../shared, and for the peer a
    Python >= 3.12. The figures mean nothing while other programs use the processors.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compare_cobre_rs import (
    FORWARD_PASSES,
    PEER,
    SHARED,
    Program,
    Run,
    install_peer,
    read_our_trace,
    read_peer_trace,
    run_once,
)

PEER_VERSION = "0.18.0"
ROOT = Path(__file__).resolve().parents[1]

# Takes: workers and backend, then case directory, output directory, threads.
OURS = """
import sys, cobre
workers, backend, case, output, threads = sys.argv[1:]
cobre.train(cobre.Case.load(case), num_workers=int(workers), backend=backend, threads=int(threads),
            progress=False, output_dir=output)
"""


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    program: Program
    threads: int


@dataclass(frozen=True)
class Subject:
    """One case to train."""

    name: str
    iterations: int
    ways: list[Way]


def set_iterations(case: Path, iterations: int) -> None:
    """Have a case trained for a number of iterations and not simulated."""
    config = json.loads((case / "config.json").read_text())
    limit = {"type": "iteration_limit", "limit": iterations}
    config["training"] |= {"forward_passes": FORWARD_PASSES, "stopping_rules": [limit]}
    config["training"].pop("stopping_mode", None)
    config["simulation"] = {"enabled": False}
    (case / "config.json").write_text(json.dumps(config, indent=1))


def make_cases(scratch: Path, scale: float) -> dict[Path, int]:
    """Write both cases, and tell how many iterations of each are trained."""
    small = scratch / "4ree"
    shutil.copytree(SHARED / "data/cases/4ree", small)
    shutil.copyfile(SHARED / "data/4ree-noise_openings.parquet", small / "scenarios/noise_openings.parquet")
    large = scratch / "four_reservoirs"
    maker = [sys.executable, str(ROOT / "examples/make_four_reservoirs.py"), str(SHARED / "data/brazil")]
    sizes = ["--stages", "12", "--openings", "82"]
    subprocess.run([*maker, str(large), *sizes], check=True, stdout=subprocess.DEVNULL)
    cases = {small: max(2, round(200 * scale)), large: max(2, round(60 * scale))}
    for case, iterations in cases.items():
        set_iterations(case, iterations)
    return cases


def our_way(case: Path, workers: int, backend: str, threads: int) -> Way:
    """Train by workers of our own."""
    command = [sys.executable, "-c", OURS, str(workers), backend]
    name = f"{workers} x {threads} {backend}"
    return Way(name, Program(name, command, case, read_our_trace), threads)


def peer_ways(case: Path, scratch: Path, options: argparse.Namespace) -> list[Way]:
    """Train by the peer; no way when it cannot be run."""
    python = options.peer_python or install_peer(PEER_VERSION, options.cache)
    if python is None:
        return []
    converted = scratch / f"{case.name}-{PEER_VERSION}"
    converter = [sys.executable, str(SHARED / "tools/case_to_018.py"), str(case), str(converted)]
    subprocess.run(converter, check=True, stdout=subprocess.DEVNULL)
    # -I: no PYTHONPATH, which might lead the peer to our module.
    program = Program(PEER_VERSION, [python, "-I", "-c", PEER], converted, read_peer_trace)
    return [Way(f"{PEER_VERSION}, {threads} thr.", program, threads) for threads in (1, 2)]


def subjects(scratch: Path, options: argparse.Namespace) -> list[Subject]:
    """List the cases with the ways to train them."""
    listed = []
    for case, iterations in make_cases(scratch, options.scale).items():
        chosen = [(1, "local", 1), (2, "shm", 1), (2, "tcp", 1), (1, "local", 2)]
        ways = [our_way(case, *choice) for choice in chosen]
        listed.append(Subject(case.name, iterations, [*ways, *peer_ways(case, scratch, options)]))
    return listed


def time_in_turns(subject: Subject, rounds: int, scratch: Path) -> dict[str, list[Run]]:
    """Run all ways once per round; each round begins with another one."""
    runs: dict[str, list[Run]] = {way.name: [] for way in subject.ways}
    for index in range(rounds):
        first = index % len(subject.ways)
        for way in [*subject.ways[first:], *subject.ways[:first]]:
            run = run_once(way.program, way.threads, scratch)
            runs[way.name].append(run)
            label = f"round {index + 1}/{rounds}, {subject.name}, {way.name}"
            print(f"{label}: {run.trace.seconds[-1]:.3f} s", file=sys.stderr, flush=True)
    return runs


def proportional_bytes(root: int) -> int:
    """Memory of a process and its descendants, each shared page counted once."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # It ended meanwhile.
            parents[int(entry.name)] = int(fields[1])
    total = 0
    for process in parents:
        ancestor: int | None = process
        while ancestor not in (None, root):
            ancestor = parents.get(ancestor) if ancestor else None
        if ancestor == root:
            total += proportional_set_size(process)
    return total


def proportional_set_size(process: int) -> int:
    """Proportional set size of one process, in bytes; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def peak_memory(way: Way, scratch: Path) -> int:
    """Train once and return the most memory that all processes had at one time."""
    with tempfile.TemporaryDirectory(dir=scratch) as output:
        command = [*way.program.command, str(way.program.case), output, str(way.threads)]
        process = subprocess.Popen(command, cwd=scratch, stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, proportional_bytes(process.pid))
            time.sleep(0.02)
        if process.returncode != 0:
            sys.exit(f"{way.name} failed with code {process.returncode}")
        return peak


def print_times(subject: Subject, runs: dict[str, list[Run]]) -> None:
    """Print seconds of training and of everything else, and the speed-up over one worker."""
    trained = {
        name: statistics.median(run.trace.seconds[-1] for run in finished) for name, finished in runs.items()
    }
    around = {
        name: statistics.median(run.wall_seconds - run.trace.seconds[-1] for run in finished)
        for name, finished in runs.items()
    }
    print(f"\n{subject.name}, {subject.iterations} iterations of {FORWARD_PASSES} forward passes\n")
    print(f"{'workers x threads':<20}{'training s':>12}{'min':>9}{'max':>9}{'speed-up':>10}{'around s':>10}")
    base = trained[subject.ways[0].name]
    for name, finished in runs.items():
        seconds = [run.trace.seconds[-1] for run in finished]
        figures = f"{trained[name]:>12.3f}{min(seconds):>9.3f}{max(seconds):>9.3f}"
        print(f"{name:<20}{figures}{base / trained[name]:>10.2f}{around[name]:>10.3f}")


def print_memory(subject: Subject, scratch: Path) -> None:
    """Print the memory of one and of four workers, and of the peer with four threads."""
    case = subject.ways[0].program.case
    ways = [our_way(case, 1, "local", 1), our_way(case, 4, "shm", 1), our_way(case, 4, "tcp", 1)]
    peers = [Way(f"{PEER_VERSION}, 4 thr.", way.program, 4) for way in subject.ways if way.name[0] == "0"][:1]
    peaks = {way.name: peak_memory(way, scratch) for way in [*ways, *peers]}
    print(f"\n{'memory':<20}{'MiB':>12}{'of one worker':>16}")
    base = peaks[ways[0].name]
    for name, peak in peaks.items():
        print(f"{name:<20}{peak / 2**20:>12.1f}{peak / base:>16.2f}")


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="%(default)s")
    add("--scale", type=float, default=1.0, help="factor on the iterations, %(default)s")
    add("--cache", type=Path, default=Path.home() / ".cache/cobre/peers", help="%(default)s")
    add("--peer-python", help=f"an interpreter that has cobre-python {PEER_VERSION}")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the comparison; exit code 2 when something that it needs is absent."""
    options = parse_options()
    needed = [SHARED / "data/cases/4ree", SHARED / "data/brazil", SHARED / "tools/case_to_018.py"]
    for path in needed:
        if not path.exists():
            print(f"SKIPPED: {path} is absent; it is no part of this repository", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="cobre-bench-") as folder:
        scratch = Path(folder)
        print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
        for subject in subjects(scratch, options):
            print_times(subject, time_in_turns(subject, options.rounds, scratch))
            print_memory(subject, scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
