from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import cobre
from cobre import _core


def python(program: str) -> str:
    """Run a program in a fresh interpreter and return what it prints."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_loads_nothing() -> None:
    loaded = python("import sys, cobre; print(sorted(name for name in sys.modules if 'cobre' in name))")
    assert loaded == "['cobre']"
    assert python("import sys, cobre; print('rich' in sys.modules, 'numpy' in sys.modules)") == "False False"


def test_every_public_name_loads() -> None:
    for name in cobre.__all__:
        assert getattr(cobre, name) is not None
    assert set(dir(cobre)) == set(cobre.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        cobre.trian  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("first", ["cobre.TrainingResult", "cobre.simulation", "cobre.train"])
def test_train_is_a_function_whatever_was_loaded_first(first: str) -> None:
    module = first if first.islower() else "cobre"
    load = f"import {module}" if first == "cobre.simulation" else f"import cobre; {first}"
    assert (
        python(f"{load}\nimport cobre\nprint(callable(cobre.train), callable(cobre.simulate))") == "True True"
    )


def test_nothing_is_left_in_the_process() -> None:
    program = (
        "import signal, threading, multiprocessing, os\n"
        "before = [signal.getsignal(n) for n in signal.valid_signals()], dict(os.environ)\n"
        "import cobre; cobre.train; cobre.simulate; cobre.Policy; cobre.Table\n"
        "after = [signal.getsignal(n) for n in signal.valid_signals()], dict(os.environ)\n"
        "print(before == after, threading.active_count(), multiprocessing.get_start_method(allow_none=True))"
    )
    assert python(program) == "True 1 None"


def test_versions_agree() -> None:
    assert _core.__version__ == cobre.__version__
    try:
        installed = metadata.version("cobre")
    except metadata.PackageNotFoundError:
        pytest.skip("the package is not installed: its metadata was not compared")
    assert installed == cobre.__version__


def test_another_version_of_the_compiled_part_is_refused() -> None:
    program = (
        "import sys, types\n"
        "stale = types.ModuleType('cobre._core'); stale.__version__ = '0.0.1'; stale.__file__ = 'old.so'\n"
        "sys.modules['cobre._core'] = stale\n"
        "import cobre; cobre._core = stale\n"
        "try:\n    cobre.train\nexcept ImportError as error:\n    print(error)"
    )
    message = python(program)
    assert "0.0.1" in message
    assert cobre.__version__ in message
    assert "make setup" in message


def test_the_package_is_typed() -> None:
    package = Path(cobre.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "_core.pyi").exists()
