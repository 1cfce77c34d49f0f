from __future__ import annotations

import filecmp
from pathlib import Path

import pytest

from support import EXAMPLE, ROOT, run_program, shared

MAKE_CASE = ROOT / "examples" / "make_four_reservoirs.py"
SCRIPTS = sorted(set((ROOT / "examples").glob("*.py")) - {MAKE_CASE})


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_examples_run_and_are_short(script: Path, tmp_path: Path) -> None:
    assert len(script.read_text().splitlines()) <= 40
    done = run_program(script, cwd=tmp_path)
    assert done.stdout.strip()
    assert done.stderr == ""


def test_the_shipped_case_is_what_its_script_writes(tmp_path: Path) -> None:
    run_program(MAKE_CASE, shared("data/brazil"), tmp_path / "case")
    written = sorted(file.relative_to(tmp_path / "case") for file in (tmp_path / "case").rglob("*.*"))
    assert written
    for file in written:
        assert filecmp.cmp(tmp_path / "case" / file, EXAMPLE / file, shallow=False), file
