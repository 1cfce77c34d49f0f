"""Result tables as one labelled data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

try:
    import numpy as np
    import xarray as xr
except ImportError as _error:
    _MESSAGE = "to_xarray() needs xarray: pip install xarray"
    raise ImportError(_MESSAGE) from _error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cobre.tables import Table

__all__ = ["dataset_of"]

_ID: Final = "_id"


def dataset_of(tables: Mapping[str, Table]) -> xr.Dataset:
    """Make a data set of tables whose rows are told apart by ids.

    Args:
        tables: Name to table. Columns such as ``scenario_id`` and ``hydro_id`` are the dimensions
            ``scenario`` and ``hydro``; the other columns are variables.
    """
    parts = [_part(name, table) for name, table in tables.items() if table.num_rows]
    return xr.merge(parts, join="outer", compat="no_conflicts", combine_attrs="drop")


def _part(table_name: str, table: Table) -> xr.Dataset:
    """Spread one table over its dimensions; combinations that no row has are missing values (NaN)."""
    columns: dict[str, list[Any]] = dict(table.to_pydict())
    ids = {name: columns.pop(name) for name in table.column_names if name.endswith(_ID)}
    labels, places = {}, []
    for name, values in ids.items():
        distinct, positions = np.unique(np.asarray(values), return_inverse=True)
        labels[name.removesuffix(_ID)] = distinct
        places.append(positions)
    variables = {}
    for name, values in columns.items():
        spread = np.full([len(label) for label in labels.values()], np.nan)
        spread[tuple(places)] = np.asarray(values, dtype=np.float64)
        variables[f"{table_name}_{name}"] = (list(labels), spread)
    return xr.Dataset(variables, coords=labels)
