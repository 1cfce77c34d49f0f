"""The job scripts of examples/slurm, run by bash with a scheduler that only notes what it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support import ROOT

SCRIPTS = sorted((ROOT / "examples" / "slurm").glob("*.sbatch"))


def run(script: Path, folder: Path, *arguments: str, ranks_end_with: int) -> tuple[int, str]:
    """Run a script whose ranks end with a code; give the script's own code and what it asked of Slurm."""
    for name, code in [("srun", ranks_end_with), ("scontrol", 0)]:
        command = folder / name
        command.write_text(f'#!/bin/sh\necho {name} "$@" >> "{folder}/asked"\nexit {code}\n')
        command.chmod(0o755)
    environment = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "17",
        "SLURM_CPUS_PER_TASK": "4",
    }
    done = subprocess.run(
        ["bash", script, *arguments], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    asked = folder / "asked"
    return done.returncode, asked.read_text() if asked.exists() else done.stderr


def test_there_is_one_for_each_mpi() -> None:
    assert [script.name for script in SCRIPTS] == ["train-mpich.sbatch", "train-openmpi.sbatch"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_ranks_resume(script: Path, tmp_path: Path) -> None:
    code, asked = run(script, tmp_path, "a case", "an output", ranks_end_with=0)
    assert code == 0
    assert "scontrol" not in asked
    assert asked.endswith(" cobre-mpi train a case --output an output --checkpoint-every 10 --resume\n")
    assert ("--mpi=pmix" if "openmpi" in script.name else "--mpi=pmi2") in asked
    assert "--cpus-per-task=4" in asked


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_stopped_job_returns_to_the_queue(script: Path, tmp_path: Path) -> None:
    code, asked = run(script, tmp_path, "case", "out", ranks_end_with=143)
    assert code == 0
    assert asked.endswith("scontrol requeue 17\n")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_failed_job_does_not(script: Path, tmp_path: Path) -> None:
    code, asked = run(script, tmp_path, "case", "out", ranks_end_with=3)
    assert code == 3
    assert "scontrol" not in asked


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_job_without_arguments_says_how_to_call_it(script: Path, tmp_path: Path) -> None:
    code, said = run(script, tmp_path, ranks_end_with=0)
    assert code != 0
    assert f"usage: sbatch {script.name} CASE OUTPUT" in said
