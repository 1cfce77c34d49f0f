"""What code may say: where unsafe code lives, which names mean something, what the engine knows."""

import ast
import re
from pathlib import PurePosixPath

import pytest

from house.repository import line_of, matching, python_files, python_tree, rust_code, text

# The rooms of unsafe code (HiGHS' C interface); clippy asks for a SAFETY comment at each block.
UNSAFE_ROOMS = (
    "crates/cobre-comm/src/lifeline.rs",
    "crates/cobre-comm/src/mapping.rs",
    "crates/cobre-comm/src/node_region.rs",
    "crates/cobre-comm/src/shm/locks.rs",
    "crates/cobre-comm/src/shm/model.rs",
    "crates/cobre-comm/src/shm/segment.rs",
    "crates/cobre-comm/src/tcp/inherited.rs",
    "crates/cobre-lp/src/highs/raw.rs",
)

EMPTY_NAMES = re.compile(r"\w*(Manager|Helper|Util|Context|Bundle)s?")
EMPTY_FILES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "context"}
ALLOWED_NAMES = {"DataManager"}

# Words of water. The engine knows stages, states, noise and cuts.
HYDRO_WORDS = re.compile(r"(?i:hydro|reservoir|storage|inflow|turbin|spill|thermal)")


@pytest.mark.parametrize("crate", matching("crates/*/src/lib.rs"))
def test_unsafe_code_stays_in_its_rooms(crate: str) -> None:
    folder = str(PurePosixPath(crate).parent)
    rooms = set(matching(*UNSAFE_ROOMS))
    files = matching(f"{folder}/**/*.rs")
    has_room = any(path in rooms for path in files)
    attribute = "#![deny(unsafe_code)]" if has_room else "#![forbid(unsafe_code)]"
    assert attribute in text(crate), f"{crate} needs {attribute}"
    for path in files:
        found = re.search(r"\bunsafe\b", rust_code(path, strings=False))
        if found and path not in rooms:
            pytest.fail(f"{path}:{line_of(rust_code(path), found.start())} is no room for unsafe code")


def test_type_names_mean_something() -> None:
    declaration = re.compile(r"\b(?:struct|enum|trait|type|union)\s+(\w+)")
    names = [
        *(
            (path, found[1])
            for path in matching("**/*.rs")
            for found in declaration.finditer(rust_code(path, strings=False))
        ),
        *(
            (path, node.name)
            for path in python_files()
            for node in ast.walk(python_tree(path))
            if isinstance(node, ast.ClassDef)
        ),
    ]
    wrong = [
        f"{path}: {name}" for path, name in names if EMPTY_NAMES.fullmatch(name) and name not in ALLOWED_NAMES
    ]
    wrong += [
        path
        for path in [*matching("**/*.rs"), *python_files()]
        if PurePosixPath(path).stem.strip("_") in EMPTY_FILES
    ]
    assert not wrong, "names that say nothing:\n" + "\n".join(wrong)


@pytest.mark.parametrize("path", matching("crates/cobre-sddp/src/**/*.rs", "crates/cobre-lp/src/**/*.rs"))
def test_the_engine_knows_no_water(path: str) -> None:
    """Identifiers and strings count; comments, whose examples may speak of water, and test modules do not."""
    if PurePosixPath(path).name == "tests.rs":
        return
    code = rust_code(path).split("#[cfg(test)]")[0]
    wrong = [f"{path}:{line_of(code, found.start())} {found[0]}" for found in HYDRO_WORDS.finditer(code)]
    assert not wrong, "the engine knows stages, states, noise and cuts:\n" + "\n".join(wrong)


def test_unstable_orders_reach_no_result() -> None:
    assert '"std::collections::HashMap"' in text("clippy.toml")
    assert '"std::collections::HashSet"' in text("clippy.toml")


def test_comments_describe_the_code_as_it_is() -> None:
    trace = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    wrong = [
        f"{path}:{line_of(text(path), found.start())} {found[0]}"
        for path in [*matching("**/*.rs"), *python_files()]
        if path != "tests/house/test_code.py"
        for found in trace.finditer(text(path))
    ]
    assert not wrong, "write an issue instead:\n" + "\n".join(wrong)
