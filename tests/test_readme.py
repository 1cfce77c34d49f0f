from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from support import ROOT, run_cobre

README = ROOT / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert BLOCKS


@pytest.mark.parametrize("last", range(len(BLOCKS)), ids=lambda index: f"block {index + 1}")
def test_python_blocks_run(last: int, tmp_path: Path) -> None:
    """Run each block after those above it, as a reader would, in a folder that has the examples."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = "\n".join(BLOCKS[: last + 1])
    done = run_cobre("-c", program, program=[sys.executable], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
