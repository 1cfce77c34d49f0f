from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from support import ROOT, run_cobre


def blocks(page: Path) -> list[str]:
    """List a page's examples in Python, first to last."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


README = blocks(ROOT / "README.md")
GUIDES = [page for page in sorted((ROOT / "src/guides").glob("*.md")) if blocks(page)]


def run(program: str, folder: Path) -> None:
    """Run a program as a reader would, in a folder that has the examples."""
    (folder / "examples").symlink_to(ROOT / "examples")
    done = run_cobre("-c", program, program=[sys.executable], cwd=folder)
    assert done.returncode == 0, done.stderr


def test_there_are_examples() -> None:
    assert README
    assert len(GUIDES) > 1


@pytest.mark.parametrize("last", range(len(README)), ids=lambda index: f"block {index + 1}")
def test_python_blocks_run(last: int, tmp_path: Path) -> None:
    """Run each block after those above it."""
    run("\n".join(README[: last + 1]), tmp_path)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_the_guides_run(guide: Path, tmp_path: Path) -> None:
    run("\n".join(blocks(guide)), tmp_path)
