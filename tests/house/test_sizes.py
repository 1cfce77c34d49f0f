"""How large things may grow: nobody reads a long file. Rust functions are measured by clippy."""

import pytest

from house.repository import functions, matching, python_files, text

MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 80
MAX_POSITIONAL_PARAMETERS = 6


@pytest.mark.parametrize("path", [*matching("**/*.rs"), *python_files()])
def test_files_are_short(path: str) -> None:
    lines = text(path).count("\n")
    assert lines <= MAX_FILE_LINES, f"{path} has {lines} lines, at most {MAX_FILE_LINES} may be"


def test_python_functions_are_short_and_take_few_parameters() -> None:
    wrong = []
    for path in python_files():
        for function in functions(path):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            given = [*function.args.posonlyargs, *function.args.args]
            parameters = [argument for argument in given if argument.arg not in {"self", "cls"}]
            place = f"{path}:{function.lineno} {function.name}"
            if lines > MAX_FUNCTION_LINES:
                wrong.append(f"{place}: {lines} lines, at most {MAX_FUNCTION_LINES} may be")
            if len(parameters) > MAX_POSITIONAL_PARAMETERS:
                wrong.append(f"{place}: {len(parameters)} parameters by position: make options keyword-only")
    assert not wrong, "\n".join(wrong)


def test_clippy_measures_rust_functions() -> None:
    limits = text("clippy.toml")
    assert f"too-many-lines-threshold = {MAX_FUNCTION_LINES}" in limits
    assert f"too-many-arguments-threshold = {MAX_POSITIONAL_PARAMETERS}" in limits
    cargo = text("Cargo.toml")
    for lint in (
        "too_many_arguments",
        "undocumented_unsafe_blocks",
        "print_stdout",
        "print_stderr",
        "dbg_macro",
    ):
        assert f'{lint} = "deny"' in cargo
    for crate in matching("crates/*/Cargo.toml"):
        assert "[lints]\nworkspace = true" in text(crate), f"{crate} does not take the workspace's lints"
