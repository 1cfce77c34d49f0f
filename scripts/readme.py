"""Write the outputs that README.md shows anew, from the programs that make them.

    make readme

A block between `<!-- output of COMMAND -->` and `<!-- end -->` becomes what COMMAND prints. The example is
the first Python block.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"<!-- output of (.+?) -->\n.*?<!-- end -->", re.DOTALL)
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def output(command: list[str]) -> str:
    """Run a command as a terminal of 100 columns without colours would, and return what it prints."""
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return finished.stdout.rstrip()


def main() -> None:
    """Rewrite the README."""
    content = README.read_text(encoding="utf-8")
    example = EXAMPLE.findall(content)[0]

    def shown(found: re.Match[str]) -> str:
        name = found[1]
        if name == "the example":
            printed = output([sys.executable, "-c", example])
        else:
            printed = output([str(Path(sys.executable).with_name("cobre")), *name.split()[1:]])
        return f"<!-- output of {name} -->\n```text\n{printed}\n```\n<!-- end -->"

    README.write_text(BLOCK.sub(shown, content), encoding="utf-8")


if __name__ == "__main__":
    main()
