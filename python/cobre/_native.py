"""The compiled part, checked: a stale library under newer Python files would fail in strange ways."""

from __future__ import annotations

import cobre

try:
    from cobre import _core
except ImportError as error:
    _MESSAGE = f"the compiled part of cobre cannot be loaded ({error}); build it with `make setup`"
    raise ImportError(_MESSAGE) from error

if _core.__version__ != cobre.__version__:
    _MESSAGE = (
        f"the compiled part of cobre is version {_core.__version__}, the Python part {cobre.__version__}; "
        f"rebuild it with `make setup` (library: {_core.__file__})"
    )
    raise ImportError(_MESSAGE)

__all__ = ["_core"]
