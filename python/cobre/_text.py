"""Figures and tables as plain text and as HTML for notebooks."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["format_duration", "format_money", "format_number", "format_table", "html_table"]

_LARGE: Final = 1e15
_SMALL: Final = 1e-3
_MINUTE: Final = 60
_HOUR: Final = 3600


def format_number(value: object, digits: int = 2) -> str:
    """Format one figure for people.

    Examples:
        >>> format_number(2626111.1111), format_number(7), format_number(None), format_number(float("nan"))
        ('2 626 111.11', '7', '-', '-')
        >>> format_number(0.0000321), format_number("SUL")
        ('3.21e-05', 'SUL')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    if value and not _SMALL <= abs(value) < _LARGE:
        return f"{value:.{digits}e}"
    return f"{value:,.{digits}f}".replace(",", " ")


def format_money(value: float | None) -> str:
    """Format a cost in $.

    Examples:
        >>> format_money(782309.058), format_money(None)
        ('$ 782 309.06', '-')
    """
    text = format_number(value)
    return text if text == "-" else f"$ {text}"


def format_duration(seconds: float) -> str:
    """Format a duration.

    Examples:
        >>> format_duration(0.26), format_duration(75), format_duration(3725)
        ('0.3 s', '1 min 15 s', '1 h 02 min')
    """
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def format_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Align a table: words to the left, figures to the right, a rule under the headers.

    Examples:
        >>> print(format_table(["bus", "cost"], [["SUL", 3.5], ["NORTE", 120.0]]))
        bus      cost
        -----  ------
        SUL      3.50
        NORTE  120.00
    """
    kept = [list(row) for row in rows]
    cells = [[format_number(value) for value in row] for row in kept]
    right = [
        all(row[column] is None or isinstance(row[column], (int, float)) for row in kept) if kept else False
        for column in range(len(headers))
    ]
    widths = [max(len(line[column]) for line in [list(headers), *cells]) for column in range(len(headers))]

    def line(values: Sequence[str]) -> str:
        parts = [
            value.rjust(width) if to_right else value.ljust(width)
            for value, width, to_right in zip(values, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *(line(row) for row in cells)])


def html_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> str:
    """Make a table for a notebook.

    Examples:
        >>> html_table("buses", ["id"], [[1]]).partition("<tbody>")[2]
        '<tr><td>1</td></tr></tbody></table></div>'
    """
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(format_number(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    caption = f"<div>{escape(note)}</div>" if note else ""
    return (
        f"<div><strong>{escape(title)}</strong><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{caption}</div>"
    )
