"""What the tests share: places, copies of cases, child processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
EXAMPLE = ROOT / "examples" / "four_reservoirs"
COBRE = [sys.executable, "-m", "cobre"]


def shared(path: str) -> Path:
    """Find a file of the folder beside the repository, or skip the test aloud."""
    place = SHARED / path
    if not place.exists():
        pytest.skip(f"{place} is not on this machine: this oracle was not checked")
    return place


def case_directory(name: str) -> Path:
    """Find one of the development cases."""
    return shared(f"data/cases/{name}")


def copy_case(source: Path, target: Path) -> Path:
    """Copy a case into a writable place."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2))


def truncate_case(source: Path, target: Path, stages: int, openings: Path | None = None) -> Path:
    """Copy the first stages of a case, with another opening tree when one is given."""
    copy_case(source, target)
    if openings is not None:
        shutil.copyfile(openings, target / "scenarios" / "noise_openings.parquet")
    edit_json(target / "stages.json", lambda content: content["stages"].__delitem__(slice(stages, None)))
    for file in (*target.glob("scenarios/*.parquet"), *target.glob("constraints/*.parquet")):
        table = pq.read_table(file)
        pq.write_table(table.filter(pc.less(table["stage_id"], stages)), file, compression="zstd")
    return target


def dry_case(target: Path, stage: int) -> Path:
    """Copy the example and let more evaporate in one opening of a stage than a reservoir holds."""
    file = copy_case(EXAMPLE, target) / "scenarios" / "noise_openings.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    for row in rows:
        if (row["stage_id"], row["opening_index"], row["entity_index"]) == (stage, 4, 1):
            row["value"] = -1e7
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file, compression="zstd")
    return target


def result_bytes(output: Path) -> dict[str, bytes]:
    """Read every file that must not depend on threads, machine and time."""
    changing = {"run.json", "training/timings.parquet", "training/checkpoint.bin"}
    files = {str(file.relative_to(output)): file for file in sorted(output.rglob("*")) if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if name not in changing}


def run_program(
    script: Path, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python script to its end, which must be a good one."""
    done = run_cobre(*arguments, program=[sys.executable, str(script)], cwd=cwd)
    assert done.returncode == 0, f"{script.name} exited with {done.returncode}:\n{done.stderr}"
    return done


def run_cobre(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    program: list[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command, or another program, to its end."""
    return subprocess.run(
        [*(program or COBRE), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
