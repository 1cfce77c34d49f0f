"""What ``run.json`` of an output directory says about the runs that wrote there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cobre.errors import IOError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_run"]

_REQUIRED: Final = {
    "training": ("config", "options", "termination_reason"),
    "simulation": ("options", "mean_cost", "std_cost", "half_width", "tables"),
}


def read_run(directory: Path, section: str) -> dict[str, Any]:
    """Return what is recorded of a training or a simulation that left results.

    Args:
        directory: The output directory.
        section: ``training`` or ``simulation``.

    Raises:
        IOError: There is no such run, it left no results (``OutputNotFound``), or the record is damaged
            (``OutputCorrupted``).
    """
    path = directory / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _failed("OutputNotFound", "the directory holds no run of Cobre", path) from error
    except (OSError, ValueError) as error:
        raise _failed("OutputCorrupted", f"the record of the run could not be read: {error}", path) from error
    if not isinstance(record, dict) or record.get("format") != "cobre-run":
        raise _failed("OutputCorrupted", "the file is no record of Cobre", path)
    if section not in record:
        raise _failed("OutputNotFound", f"the directory holds no {section}", path)
    run: dict[str, Any] = record[section]
    if any(name not in run for name in _REQUIRED[section]):
        status = run.get("status", "unknown")
        raise _failed("OutputNotFound", f"the {section} left no results; its status is {status!r}", path)
    return run


def _failed(kind: str, message: str, path: Path) -> IOError:
    return IOError(message, kind=kind, context={"path": str(path)})
