"""Who may depend on whom (design: "The house"; book: specs/architecture/overview.md)."""

import ast
import json
import subprocess
from collections.abc import Iterator

import pytest

from house.repository import ROOT, matching, python_tree

# Normal dependencies between the crates, all of them; tests may depend on anything.
CRATES = {
    "cobre-core": set[str](),
    "cobre-comm": {"cobre-core"},
    "cobre-lp": {"cobre-core"},
    "cobre-sddp": {"cobre-core", "cobre-comm", "cobre-lp"},
    "cobre-hydro": {"cobre-core", "cobre-sddp", "cobre-lp"},
    "cobre": {"cobre-core", "cobre-comm", "cobre-lp", "cobre-sddp", "cobre-hydro"},
    "cobre-python": {"cobre-core", "cobre"},
}

# The rooms of the Python package that have a house rule, and the rooms each may import.
ROOMS = {
    "runtime": set[str](),
    "pool": {"runtime"},
    "train": {"runtime"},
    "study": {"runtime", "train", "pool"},
    "search": {"runtime", "pool"},
}


def _dependencies() -> dict[str, set[str]]:
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    packages = json.loads(metadata)["packages"]
    names = {package["name"] for package in packages}
    return {
        package["name"]: {
            dependency["name"]
            for dependency in package["dependencies"]
            if dependency["kind"] is None and dependency["name"] in names
        }
        for package in packages
        if "/crates/" in package["manifest_path"]
    }


def test_crates_depend_as_the_design_says() -> None:
    found = _dependencies()
    unknown = found.keys() - CRATES.keys()
    assert not unknown, f"crates without a place in the house: {sorted(unknown)}"
    forbidden = {name: sorted(used - CRATES[name]) for name, used in found.items() if used - CRATES[name]}
    assert not forbidden, f"arrows that the design does not have: {forbidden}"


def _imports(path: str) -> Iterator[str]:
    """Yield the dotted names inside the package that a file imports, wherever it does."""
    package = path.removeprefix("python/").removesuffix(".py").split("/")
    package = package[:-1]
    for node in ast.walk(python_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _room(dotted: str) -> str | None:
    parts = dotted.split(".")
    if len(parts) < 2 or parts[0] != "cobre":
        return None
    return parts[1].removeprefix("_")


@pytest.mark.parametrize("room", ROOMS)
def test_python_rooms_import_as_the_design_says(room: str) -> None:
    allowed = ROOMS[room] | {room}
    files = matching(f"python/cobre/{room}.py", f"python/cobre/_{room}.py", f"python/cobre/{room}/**/*.py")
    wrong = [
        f"{path} imports {name}"
        for path in files
        for name in _imports(path)
        if _room(name) in ROOMS and _room(name) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_users_see_public_names_only() -> None:
    wrong = [
        f"{path} imports {name}"
        for path in matching("examples/**/*.py", "benches/**/*.py")
        for name in _imports(path)
        if name.startswith("cobre._")
    ]
    assert not wrong, "\n".join(wrong)
