"""Time to a lower bound: Cobre against cobre-rs/cobre, releases 0.5.1 and 0.18.0.

What is measured
    The seconds of training until the lower bound of the `4ree` case first reaches each of
    `--bounds`, the seconds of `--iterations` iterations, and the wall time of the whole process.

How
    All programs train the same case on the same opening tree with four forward passes per
    iteration and no simulation; 0.18.0 reads the case through the converter. Each run is a process
    of its own. Programs run in turns: every round runs each of them once per thread count, and
    each round begins with another program, so that a slow minute of the machine falls on all.
    Times come from the table that each program writes of its iterations, so start-up and file
    reading do not count. The peers write whole milliseconds per iteration, rounded down: their
    sums are short by half a millisecond per iteration, in their favour.
    Ratios are peer median / our median: above 1, ours is faster.

How to run it
    python benches/compare_cobre_rs.py          # makes the peers' environments on first use
    python benches/compare_cobre_rs.py --rounds 5 --threads 1
    python benches/compare_cobre_rs.py --peer-python 0.5.1=/opt/peer/bin/python

    Needs `cobre` and `pyarrow` in this interpreter, and a Python >= 3.12 for the peers, whose
    module is called `cobre` as ours is, so that each lives in an environment of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

PEERS = ("0.5.1", "0.18.0")
FORWARD_PASSES = 4
SHARED = Path(__file__).resolve().parents[2] / "shared"

# Both take: case directory, output directory, threads.
OURS = """
import sys, cobre
case, output, threads = sys.argv[1:]
cobre.train(cobre.Case.load(case), threads=int(threads), progress=False, output_dir=output)
"""
PEER = """
import sys
from cobre.run import run
case, output, threads = sys.argv[1:]
run(case, output, threads=int(threads))
"""


@dataclass(frozen=True)
class Trace:
    """Lower bound, and seconds since training began, at the end of each iteration."""

    lower_bounds: list[float]
    seconds: list[float]

    def first_reaching(self, bound: float) -> int | None:
        """Index of the first iteration whose lower bound is at least `bound`."""
        return next((i for i, value in enumerate(self.lower_bounds) if value >= bound), None)

    def seconds_to(self, bound: float) -> float | None:
        """Seconds of training until the lower bound is at least `bound`."""
        reached = self.first_reaching(bound)
        return None if reached is None else self.seconds[reached]


@dataclass(frozen=True)
class Run:
    """One finished process."""

    trace: Trace
    wall_seconds: float


@dataclass(frozen=True)
class Program:
    """One of the programs compared: how it is started and how its output is read."""

    name: str
    command: list[str]
    case: Path
    read_trace: Callable[[Path], Trace]


Runs = dict[tuple[str, int], list[Run]]


def read_our_trace(output: Path) -> Trace:
    """Read what `cobre.train(output_dir=output)` wrote; `elapsed_secs` is cumulative."""
    bounds = pq.read_table(output / "training" / "convergence.parquet", columns=["lower_bound"])
    seconds = pq.read_table(output / "training" / "timings.parquet", columns=["elapsed_secs"])
    return Trace(bounds["lower_bound"].to_pylist(), seconds["elapsed_secs"].to_pylist())


def read_peer_trace(output: Path) -> Trace:
    """Read what a peer of either release wrote; `time_total_ms` is per iteration."""
    columns = ["lower_bound", "time_total_ms"]
    table = pq.read_table(output / "training" / "convergence.parquet", columns=columns)
    milliseconds = itertools.accumulate(table["time_total_ms"].to_pylist())
    return Trace(table["lower_bound"].to_pylist(), [total / 1000 for total in milliseconds])


def peer_version(python: str) -> str | None:
    """Version of the peer that an interpreter has, or None."""
    code = "from importlib.metadata import version; print(version('cobre-python'))"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_python_312() -> str | None:
    """Find a Python >= 3.12: this one, one on the PATH, or one of pyenv's versions."""
    on_path = (shutil.which(f"python3.{minor}") for minor in (12, 13, 14))
    # A pyenv shim on the PATH refuses to run a version that is not selected.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    in_pyenv = (str(path) for path in sorted(pyenv.glob("3.1[2-4].*/bin/python")))
    code = "import sys, venv; sys.exit(sys.version_info < (3, 12))"
    for python in filter(None, itertools.chain([sys.executable], on_path, in_pyenv)):
        if subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0:
            return python
    return None


def install_peer(version: str, cache: Path) -> str | None:
    """Return the interpreter of the peer's environment, made on first use; None if skipped."""
    python = str(cache / version / "bin" / "python")
    if peer_version(python) == version:
        return python
    base = find_python_312()
    if base is None:
        print(f"SKIPPED: peer {version}: no Python >= 3.12 was found", file=sys.stderr)
        return None
    print(f"installing cobre-python {version} in {cache / version}", file=sys.stderr)
    try:
        subprocess.run([base, "-m", "venv", "--clear", str(cache / version)], check=True)
        package = f"cobre-python=={version}"
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
    except subprocess.CalledProcessError as failure:
        print(f"SKIPPED: peer {version}: {failure}", file=sys.stderr)
        return None
    return python


def prepare_case(options: argparse.Namespace, target: Path) -> None:
    """Copy the case, with the opening tree and the settings that all programs share."""
    shutil.copytree(options.case, target)
    shutil.copyfile(options.openings, target / "scenarios" / "noise_openings.parquet")
    config = json.loads((target / "config.json").read_text())
    limit = {"type": "iteration_limit", "limit": options.iterations}
    config["training"] |= {"forward_passes": FORWARD_PASSES, "stopping_rules": [limit]}
    config["simulation"] = {"enabled": False}
    (target / "config.json").write_text(json.dumps(config, indent=1))


def programs_to_compare(options: argparse.Namespace, scratch: Path) -> list[Program]:
    """Ours first, then the peers that can be run."""
    case, converted = scratch / "case", scratch / "case-0.18.0"
    prepare_case(options, case)
    converter = [sys.executable, str(options.converter), str(case), str(converted)]
    subprocess.run(converter, check=True, stdout=subprocess.DEVNULL)
    programs = [Program("ours", [sys.executable, "-c", OURS], case, read_our_trace)]
    given = dict(options.peer_python)
    for version in PEERS:
        python = given.get(version) or install_peer(version, options.cache)
        if python is None:
            continue
        found = peer_version(python)
        if found != version:
            sys.exit(f"--peer-python {version}={python}: cobre-python is {found or 'not there'}")
        peer_case = converted if version == "0.18.0" else case
        # -I: no PYTHONPATH, which might lead the peer to our module.
        programs.append(Program(version, [python, "-I", "-c", PEER], peer_case, read_peer_trace))
    return programs


def run_once(program: Program, threads: int, scratch: Path) -> Run:
    """Train once, in a process and an output directory of its own."""
    with tempfile.TemporaryDirectory(dir=scratch) as output:
        command = [*program.command, str(program.case), output, str(threads)]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        wall_seconds = time.perf_counter() - start
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-4000:]
            sys.exit(f"{program.name} failed with threads={threads}:\n{said}")
        return Run(program.read_trace(Path(output)), wall_seconds)


def run_in_turns(programs: Sequence[Program], options: argparse.Namespace, scratch: Path) -> Runs:
    """Run all once per round and thread count; each round begins with another program."""
    runs: Runs = {(each.name, threads): [] for threads in options.threads for each in programs}
    for index in range(options.rounds):
        first = index % len(programs)
        for threads in options.threads:
            for program in [*programs[first:], *programs[:first]]:
                run = run_once(program, threads, scratch)
                runs[program.name, threads].append(run)
                label = f"round {index + 1}/{options.rounds}, threads={threads}, {program.name}"
                print(f"{label}: {run.trace.seconds[-1]:.3f} s", file=sys.stderr, flush=True)
    return runs


def seconds_by_target(runs: Sequence[Run], options: argparse.Namespace) -> dict[str, list[float]]:
    """Rows of the tables: the seconds of each run; none unless all runs reached the target."""
    rows: dict[str, list[float]] = {}
    for bound in options.bounds:
        reached = [run.trace.seconds_to(bound) for run in runs]
        seconds = [value for value in reached if value is not None]
        rows[f"bound {bound / 1e9:.3f}e9"] = seconds if len(seconds) == len(runs) else []
    rows[f"{options.iterations} iterations"] = [run.trace.seconds[-1] for run in runs]
    rows["whole process"] = [run.wall_seconds for run in runs]
    return rows


def print_ratios(runs: Runs, peers: Sequence[str], options: argparse.Namespace) -> None:
    """Peer median / our median, a column per thread count and peer."""
    rows = {key: seconds_by_target(finished, options) for key, finished in runs.items()}
    columns = [(peer, threads) for threads in options.threads for peer in peers]
    print(f"\nPeer median / our median of {options.rounds} rounds; above 1: ours is faster\n")
    print(" " * 18 + "".join(f"{f'{peer}, {threads} thr.':>17}" for peer, threads in columns))
    for target in rows[columns[0]]:
        line = f"{target:<18}"
        for peer, threads in columns:
            theirs, ours = rows[peer, threads][target], rows["ours", threads][target]
            known = bool(theirs and ours)
            ratio = statistics.median(theirs) / statistics.median(ours) if known else None
            line += f"{'not reached' if ratio is None else f'{ratio:.2f}':>17}"
        print(line)


def print_seconds(runs: Runs, options: argparse.Namespace) -> None:
    """Raw seconds, then the iterations that each bound took and the bound at the end."""
    rows = {key: seconds_by_target(finished, options) for key, finished in runs.items()}
    print(f"\n{'seconds':<18}{'program':<9}{'threads':>8}{'median':>11}{'min':>11}{'max':>11}")
    for target in next(iter(rows.values())):
        for (name, threads), measured in rows.items():
            seconds = measured[target]
            figures = (statistics.median(seconds), min(seconds), max(seconds)) if seconds else ()
            cells = "".join(f"{figure:>11.3f}" for figure in figures) or f"{'not reached':>22}"
            print(f"{target:<18}{name:<9}{threads:>8}{cells}")
    bounds = "".join(f"{f'to {bound / 1e9:.3f}e9':>14}" for bound in options.bounds)
    print(f"\n{'iterations':<18}{'threads':>8}{bounds}{'last bound':>20}")
    for (name, threads), finished in runs.items():
        trace = finished[0].trace
        reached = (trace.first_reaching(bound) for bound in options.bounds)
        cells = "".join(f"{'-' if index is None else index + 1:>14}" for index in reached)
        print(f"{name:<18}{threads:>8}{cells}{trace.lower_bounds[-1]:>20.2f}")


def peer_python(text: str) -> tuple[str, str]:
    """Parse VERSION=PATH."""
    version, _, path = text.partition("=")
    if not path or version not in PEERS:
        message = f"{text!r} is not VERSION=PATH, where VERSION is one of {', '.join(PEERS)}"
        raise argparse.ArgumentTypeError(message)
    return version, str(Path(path).expanduser().absolute())


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    add = parser.add_argument
    add("--peer-python", action="append", type=peer_python, default=[], metavar="VERSION=PATH")
    add("--cache", type=Path, default=Path.home() / ".cache/cobre/peers", help="%(default)s")
    add("--case", type=Path, default=SHARED / "data/cases/4ree", help="%(default)s")
    openings = SHARED / "data/4ree-noise_openings.parquet"
    add("--openings", type=Path, default=openings, help="%(default)s")
    add("--converter", type=Path, default=SHARED / "tools/case_to_018.py", help="%(default)s")
    add("--rounds", type=int, default=3, help="%(default)s")
    add("--iterations", type=int, default=256, help="%(default)s")
    bounds = [60.84e9, 60.86e9, 60.864e9]
    add("--bounds", type=float, nargs="+", default=bounds, help="%(default)s")
    add("--threads", type=int, nargs="+", default=[1, 2], help="%(default)s")
    options = parser.parse_args()
    if min(options.rounds, options.iterations, *options.threads) < 1:
        parser.error("--rounds, --iterations and --threads must be at least 1")
    return options


def main() -> int:
    """Run the comparison; exit code 2 when something that it needs is absent."""
    options = parse_options()
    for path in (options.case, options.openings, options.converter):
        if not path.exists():
            print(f"SKIPPED: {path} is absent; it is no part of this repository", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="cobre-bench-") as folder:
        scratch = Path(folder)
        command = [sys.executable, "-c", "import cobre; cobre.train"]
        if subprocess.run(command, cwd=scratch, capture_output=True, check=False).returncode != 0:
            print(f"SKIPPED: our cobre is not installed for {sys.executable}", file=sys.stderr)
            return 2
        programs = programs_to_compare(options, scratch)
        peers = [program.name for program in programs[1:]]
        if not peers:
            print("SKIPPED: there is no peer to compare with", file=sys.stderr)
            return 2
        print(
            f"{options.case.name}, {FORWARD_PASSES} forward passes; {os.cpu_count()} cores,",
            end=" ",
        )
        print(f"load average {os.getloadavg()[0]:.1f} at the start")
        runs = run_in_turns(programs, options, scratch)
    print_ratios(runs, peers, options)
    print_seconds(runs, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
