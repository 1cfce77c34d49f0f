"""Tables of results and inputs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from cobre._native import _core
from cobre._text import format_table, html_table

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["Cell", "PathLike", "Table"]

Cell: TypeAlias = bool | int | float | str | None
"""One value of a table."""

PathLike: TypeAlias = str | os.PathLike[str]
"""A path, as a string or as any path object."""

_ROWS_SHOWN = 10


class Table:
    """An immutable table of named columns.

    It exposes the Arrow C stream, so polars, pandas, pyarrow and duckdb read it without copies:
    ``polars.DataFrame(table)``, ``pyarrow.table(table)``. None of them is needed to use it.

    Examples:
        >>> import cobre
        >>> buses = cobre.Case.load(cobre.example_case()).tables["buses"]
        >>> buses.num_rows
        5
        >>> buses.column("bus_id")
        [0, 1, 2, 3, 4]
    """

    __slots__ = ("_native",)

    def __init__(self, native: _core.Table) -> None:
        """Wrap a table of the compiled part; users get tables from results and cases."""
        self._native = native

    @classmethod
    def read_parquet(cls, path: PathLike) -> Table:
        """Read a Parquet file.

        Raises:
            IOError: The file is not there, or damaged.
        """
        return cls(_core.Table.read_parquet(os.fspath(path)))

    def write_parquet(self, path: PathLike) -> None:
        """Write a Parquet file, whole or not at all; equal tables give equal bytes.

        Raises:
            IOError: The file could not be written.
        """
        self._native.write_parquet(os.fspath(path))

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._native.num_rows

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""
        return self._native.column_names

    def column(self, name: str) -> list[Cell]:
        """Return the values of a column, one per row.

        Raises:
            KeyError: There is no column of that name; the message lists those there are.
        """
        if name not in self.column_names:
            raise KeyError(f"no column {name!r}; the table has: {', '.join(self.column_names)}")
        return self._native.column(name)

    def to_pydict(self) -> dict[str, list[Cell]]:
        """Return all columns, by name."""
        return self._native.to_pydict()

    def to_pyarrow(self) -> pa.Table:
        """Return a ``pyarrow.Table``; needs pyarrow."""
        try:
            import pyarrow as pa  # noqa: PLC0415 - optional
        except ImportError as error:
            raise _missing("pyarrow") from error
        return pa.table(self)

    def to_polars(self) -> pl.DataFrame:
        """Return a ``polars.DataFrame``; needs polars."""
        try:
            import polars as pl  # noqa: PLC0415 - optional
        except ImportError as error:
            raise _missing("polars") from error
        return pl.DataFrame(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return a ``pandas.DataFrame``; needs pandas."""
        try:
            import pandas as pd  # noqa: PLC0415 - optional
        except ImportError as error:
            raise _missing("pandas") from error
        return pd.DataFrame(self.to_pydict())

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.num_rows

    def __getitem__(self, name: str) -> list[Cell]:
        """Return the values of a column; see :meth:`column`."""
        return self.column(name)

    def __iter__(self) -> object:
        """Refuse: rows or columns could both be meant."""
        raise TypeError("a Table is not iterable: use column(name), to_pydict() or a data frame library")

    def __eq__(self, other: object) -> bool:
        """Compare names, types and values."""
        if not isinstance(other, Table):
            return NotImplemented
        return self._native == other._native

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[Table], tuple[_core.Table]]:
        """Pickle by value."""
        return (Table, (self._native,))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the Arrow C stream (PyCapsule interface)."""
        return self._native.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """Export the Arrow C schema (PyCapsule interface)."""
        return self._native.__arrow_c_schema__()

    def _head(self) -> list[list[Cell]]:
        columns = self.to_pydict()
        count = min(self.num_rows, _ROWS_SHOWN)
        return [[columns[name][row] for name in self.column_names] for row in range(count)]

    def _more(self) -> str:
        hidden = self.num_rows - _ROWS_SHOWN
        return f"… {hidden} more rows" if hidden > 0 else ""

    def __repr__(self) -> str:
        """Show the first rows."""
        size = f"Table: {self.num_rows} rows, {len(self.column_names)} columns"
        return "\n".join(
            part for part in (size, format_table(self.column_names, self._head()), self._more()) if part
        )

    def _repr_html_(self) -> str:
        title = f"{self.num_rows} rows, {len(self.column_names)} columns"
        return html_table(title, self.column_names, self._head(), self._more())


def _missing(library: str) -> ImportError:
    return ImportError(f"{library} is not installed: pip install {library}")
