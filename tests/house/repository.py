"""Reading the repository as text and as syntax, for the house rules."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]

_RUST_TEXT = re.compile(
    r"""
      (?P<comment> //[^\n]* | /\*.*?\*/ )
    | (?P<string> b?r(?P<hashes>\#*)".*?"(?P=hashes) | b?"(?:\\.|[^"\\])*" | b?'(?:\\.[^']*|[^'\\\n])' )
    """,
    re.DOTALL | re.VERBOSE,
)


@cache
def tracked() -> tuple[str, ...]:
    """List the files that belong to the repository, added to git or about to be, by path from its root."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(sorted(path for path in listing.split("\0") if path and (ROOT / path).is_file()))


def matching(*patterns: str) -> list[str]:
    """List the tracked files that match a pattern; `**` stands for any folders."""
    return [
        path for path in tracked() if any(PurePosixPath(path).match(p) or _deep(path, p) for p in patterns)
    ]


def _deep(path: str, pattern: str) -> bool:
    expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(expression, path) is not None


@cache
def text(path: str) -> str:
    """Read a file."""
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def rust_code(path: str, *, strings: bool = True) -> str:
    """Read a Rust file without comments and, if asked, without strings; lines stay in place."""

    def blank(found: re.Match[str]) -> str:
        if found["string"] is not None and strings:
            return found[0]
        return re.sub(r"[^\n]", " ", found[0])

    return _RUST_TEXT.sub(blank, text(path))


@cache
def python_tree(path: str) -> ast.Module:
    """Parse a Python file."""
    return ast.parse(text(path), path)


def python_files() -> list[str]:
    """List the Python files, stubs included."""
    return matching("**/*.py", "**/*.pyi")


def functions(path: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods of a Python file."""
    for node in ast.walk(python_tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def line_of(content: str, offset: int) -> int:
    """Return the 1-based line of a position in a text."""
    return content.count("\n", 0, offset) + 1
