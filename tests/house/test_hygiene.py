"""What belongs in the repository and what does not."""

import re

import pytest

from house.repository import line_of, matching, text, tracked

# A path of one machine, or where its packages come from. Written so that this file does not match itself.
MACHINE = re.compile(
    r"(?<![\w.~$)}/-])/(?:root|home|Users|work)/\w"
    r"|find[-_]links|(?:extra[-_])?index[-_]url|trusted[-_]host|replace-with|\[source\."
    r"|https?://(?:\d+\.\d+\.\d+\.\d+|[\w-]+(?::\d+)?/|[\w.-]+\.(?:internal|local|lan|corp|intranet))"
)
BINARY = (".parquet", ".png", ".bin", ".svg")


def _texts() -> list[str]:
    return [path for path in tracked() if not path.endswith(BINARY) and path != "tests/house/test_hygiene.py"]


def test_nothing_names_a_machine_or_a_package_host() -> None:
    wrong = [
        f"{path}:{line_of(text(path), found.start())} {found[0]}"
        for path in _texts()
        for found in MACHINE.finditer(text(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_rust_packages_come_from_the_public_registry() -> None:
    sources = set(re.findall(r'^source = "(.*)"$', text("Cargo.lock"), re.MULTILINE))
    assert sources == {"registry+https://github.com/rust-lang/crates.io-index"}


def test_python_packages_are_pinned() -> None:
    lines = [line for line in text("requirements-dev.txt").splitlines() if not line.startswith("#")]
    assert lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"])
def test_the_repository_introduces_itself(name: str) -> None:
    assert len(text(name).splitlines()) > 10


def test_texts_end_properly() -> None:
    wrong = [path for path in _texts() if text(path) and not re.search(r"\S\n\Z", text(path))]
    assert not wrong, f"these end without a newline, or with several: {wrong}"


def test_nothing_is_larger_than_it_should_be() -> None:
    large = [path for path in tracked() if path.endswith((".so", ".whl", ".zip", ".gz"))]
    assert not large, f"these are made, not kept: {large}"


def test_documented_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    pages = ["README.md", "CONTRIBUTING.md", *matching("src/**/*.md")]
    wrong = [
        f"{page}: make {found[1]}"
        for page in pages
        for found in re.finditer(r"(?:^|`)make ([a-z-]+)", text(page), re.MULTILINE)
        if found[1] not in targets
    ]
    assert not wrong, "\n".join(wrong)


def test_the_readme_shows_outputs() -> None:
    blocks = re.findall(r"<!-- output of (.+?) -->\n(.*?)<!-- end -->", text("README.md"), re.DOTALL)
    assert [name for name, _ in blocks] == ["cobre demo", "the example"]
    empty = [name for name, block in blocks if not re.fullmatch(r"```text\n.+\n```\n", block, re.DOTALL)]
    assert not empty, f"`make readme` writes the output of {empty}"


def test_every_target_is_in_the_help() -> None:
    makefile = text("Makefile")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    shown = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert shown == set(phony[1].split())


def test_one_version() -> None:
    version = re.search(r'\[workspace\.package\]\nversion = "([^"]+)"', text("Cargo.toml"))
    assert version is not None
    assert 'dynamic = ["version"]' in text("pyproject.toml")
    assert re.search(rf"^## \[({re.escape(version[1])}|Unreleased)\]", text("CHANGELOG.md"), re.MULTILINE)
