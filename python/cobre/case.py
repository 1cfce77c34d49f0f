"""Hydrothermal cases: a directory of JSON registries and Parquet series."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cobre._native import _core
from cobre._text import html_table
from cobre.errors import IOError, Problem, ValidationError
from cobre.tables import PathLike, Table

__all__ = ["Case", "as_case", "example_case"]


class Case:
    """A hydrothermal case, read and validated.

    A case is what was read: it holds the contents of its files and no longer needs them. So it can be
    pickled and used in another process or on another machine, whatever has become of its directory.

    Examples:
        >>> import cobre
        >>> case = cobre.Case.load(cobre.example_case())
        >>> case.stages
        12
        >>> cobre.Case.validate(cobre.example_case())
        []
    """

    def __init__(self, native: _core.Case, config_overrides: Mapping[str, Any] | None = None) -> None:
        """Wrap a case of the compiled part; users call :meth:`load`."""
        self._native = native
        self._config_overrides: dict[str, Any] = dict(config_overrides or {})

    @classmethod
    def load(cls, path: PathLike, config_overrides: Mapping[str, Any] | None = None) -> Case:
        """Read a case directory.

        Args:
            path: The directory.
            config_overrides: Merged over ``config.json``, key by key, e.g. ``{"training": {"forward_passes":
                8}}``.

        Raises:
            ValidationError: The case, or an override, is not what it must be; ``problems`` names every place.
            TypeError: The overrides are not a mapping of JSON values.
        """
        overrides = _json_of(config_overrides)
        return cls(_core.Case.load(os.fspath(path), overrides), config_overrides)

    @staticmethod
    def validate(path: PathLike, config_overrides: Mapping[str, Any] | None = None) -> list[Problem]:
        """Return every problem of a case directory; an empty list when there is none."""
        try:
            # Asking for the stages builds the optimisation problem, which finds what files alone do not show.
            _ = Case.load(path, config_overrides).stages
        except ValidationError as error:
            return error.problems or [_problem_of(error, path)]
        return []

    @property
    def name(self) -> str:
        """Name of the case: that of its directory."""
        return self._native.name

    @property
    def directory(self) -> Path:
        """The directory the case was read from."""
        return Path(self._native.directory)

    @property
    def stages(self) -> int:
        """Number of stages."""
        return self._native.stages

    @property
    def states(self) -> list[str]:
        """Names of the states, e.g. ``storage:0``, in the order of cut coefficients."""
        return self._native.states

    @property
    def initial_state(self) -> dict[str, float]:
        """Value of each state before the first stage, e.g. storage in hm³."""
        return self._native.initial_state

    @property
    def summary(self) -> dict[str, int]:
        """Sizes: stages, states, openings, rows and columns of all stages, and rows of each input table."""
        return self._native.summary

    @property
    def config(self) -> dict[str, Any]:
        """The effective configuration, defaults and overrides included."""
        config: dict[str, Any] = json.loads(self._native.config_json)
        return config

    @property
    def problem_sha256(self) -> str:
        """Fingerprint of the optimisation problem: equal problems have equal ones."""
        return self._native.problem_sha256

    @property
    def tables(self) -> dict[str, Table]:
        """The system as tables: ``buses``, ``hydros``, ``thermals``, …."""
        return {name: Table(table) for name, table in self._native.tables().items()}

    def with_overrides(self, config_overrides: Mapping[str, Any]) -> Case:
        """Return the case, of the files as they were read, with more overrides merged over those it has.

        Raises:
            ValidationError: As :meth:`load`.
            TypeError: As :meth:`load`.
        """
        _check_mapping(config_overrides)
        merged = _merged(self._config_overrides, config_overrides)
        return Case(self._native.with_overrides(_json_of(merged)), merged)

    def __reduce__(self) -> tuple[type[Case], tuple[_core.Case, dict[str, Any]]]:
        """Pickle by value."""
        return (Case, (self._native, self._config_overrides))

    def __repr__(self) -> str:
        """Show name and sizes."""
        sizes = ", ".join(f"{count} {name}" for name, count in self.summary.items())
        return f"Case({self.name!r}: {sizes})"

    def _repr_html_(self) -> str:
        return html_table(f"Case {self.name}", ["", "count"], list(self.summary.items()), str(self.directory))


def as_case(case: Case | PathLike, config_overrides: Mapping[str, Any] | None) -> _core.Case:
    """Return the case that a caller means by a case or by a path, with overrides applied.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(case, Case):
        return (case if config_overrides is None else case.with_overrides(config_overrides))._native  # noqa: SLF001
    if isinstance(case, (str, os.PathLike)):
        return Case.load(case, config_overrides)._native  # noqa: SLF001
    raise TypeError(f"case must be a cobre.Case or the path of a case directory, not {type(case).__name__}")


def example_case() -> Path:
    """Return the directory of the four-reservoir example.

    Raises:
        IOError: This installation has no examples; they are part of a checkout of the repository.

    Examples:
        >>> example_case().name
        'four_reservoirs'
    """
    package = Path(__file__).resolve().parent
    # In an editable install the package lies in the checkout, in a wheel the case may lie inside the package.
    places = (package / "examples" / "four_reservoirs", package.parents[1] / "examples" / "four_reservoirs")
    for place in places:
        if (place / "config.json").is_file():
            return place
    message = "this installation of cobre has no example case"
    raise IOError(
        message,
        kind="OutputNotFound",
        context={"path": str(places[-1])},
        suggestion="clone the repository and pass examples/four_reservoirs, or any case directory",
    )


def _json_of(config_overrides: Mapping[str, Any] | None) -> str | None:
    if config_overrides is None:
        return None
    _check_mapping(config_overrides)
    try:
        return json.dumps(dict(config_overrides), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"config_overrides must hold JSON values only: {error}") from error


def _check_mapping(config_overrides: object) -> None:
    if not isinstance(config_overrides, Mapping):
        raise TypeError(f"config_overrides must be a mapping, not {type(config_overrides).__name__}")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two trees of settings; the second wins."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = (
            _merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def _problem_of(error: ValidationError, path: PathLike) -> Problem:
    """Describe an error without a list of problems as one problem."""
    return Problem(file=os.fspath(path), expected=error.message, suggestion=error.suggestion, kind=error.kind)
