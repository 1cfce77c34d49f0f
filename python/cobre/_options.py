"""Checks of the arguments that people pass to Cobre's functions."""

from __future__ import annotations

import math
import os
from pathlib import Path

from cobre.errors import Problem, ValidationError

__all__ = ["check_count", "check_output", "check_real", "check_seed", "refuse"]

_SEEDS = 2**64
_COUNTS = 2**63


def refuse(argument: str, value: object, expected: str, *, kind: str = "OutOfRange") -> ValidationError:
    """Make the error for an argument whose value cannot be used.

    Examples:
        >>> print(refuse("threads", 0, "at least 1"))
        an argument cannot be used
          threads: found 0, expected at least 1 [OutOfRange]
    """
    problem = Problem(file="", field=argument, value=repr(value), expected=expected, kind=kind)
    return ValidationError("an argument cannot be used", kind=kind, problems=[problem])


def check_count(argument: str, value: object, *, least: int = 1, most: int = _COUNTS) -> int:
    """Return a whole number from ``least`` up to, but not including, ``most``, a power of two.

    Raises:
        TypeError: It is not a whole number.
        ValidationError: It is smaller, or larger than any count.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{argument} must be a whole number, not {type(value).__name__} ({value!r})")
    number = value.__index__()
    if number < least:
        raise refuse(argument, value, f"at least {least}")
    if number >= most:
        raise refuse(argument, value, f"less than 2**{most.bit_length() - 1}")
    return int(number)


def check_real(argument: str, value: object) -> float:
    """Return a finite real number.

    Raises:
        TypeError: It is not a number.
        ValidationError: It is infinite or not a number (NaN).
    """
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{argument} must be a real number, not {type(value).__name__} ({value!r})")
    number = float(value)
    if not math.isfinite(number):
        raise refuse(argument, value, "a finite number")
    return number


def check_output(value: str | os.PathLike[str] | None) -> Path | None:
    """Return an output directory; an empty text is none, and must not become the current directory.

    Raises:
        ValidationError: The text is empty.
    """
    if value is None:
        return None
    if not os.fspath(value):
        raise refuse("output_dir", value, "the path of a directory")
    return Path(value)


def check_seed(value: object) -> int:
    """Return a seed: a whole number from 0 to 2**64 - 1.

    Raises:
        TypeError: It is not a whole number.
        ValidationError: It is negative or too large.
    """
    return check_count("seed", value, least=0, most=_SEEDS)
