"""Plain-text tables for standard output, formatted by rich."""

import io
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

DEFAULT_WIDTH = 128
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of a text table.

    Attributes:
        title: The header.
        justify: The alignment of the header and the cells.
        wrap: Whether a cell may be wrapped into several lines.
    """

    title: str
    justify: Literal["left", "right"] = "right"
    wrap: bool = False


def terminal_width() -> int | None:
    """The width of the terminal in characters, or None where stdout is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def format_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None = None
) -> list[str]:
    """Format a table as lines without trailing spaces. No cell is truncated.

    Args:
        columns: The columns, from left to right.
        rows: One cell for each column. An empty row becomes a blank line.
        width: Maximum number of characters in a line, or None for no limit. Columns that do not fit
            even with wrapped cells continue in another block below, which repeats the first column.
            A line is longer than this where the first column and one other do not fit.

    Returns:
        The lines.
    """
    from rich.cells import cell_len

    min_widths = []
    for index, column in enumerate(columns):
        cells = [column.title, *(row[index] for row in rows if row)]
        words = [word for cell in cells for word in cell.split()] if column.wrap else cells
        min_widths.append(max(map(cell_len, words), default=0))
    lines: list[str] = []
    for group in _fitting_groups(min_widths, width):
        total = sum(min_widths[index] for index in group) + _GAP * (len(group) - 1)
        lines += [""] * bool(lines)
        lines += _render(
            [columns[index] for index in group],
            [[row[index] for index in group] if row else [] for row in rows],
            width=max(width, total) if width is not None else None,
        )
    return lines


def _fitting_groups(min_widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Group the column indices so that each group fits the width. Each begins with column 0."""
    groups = [[0]]
    used = min_widths[0]
    for index, min_width in enumerate(min_widths[1:], start=1):
        if width is not None and used + _GAP + min_width > width and len(groups[-1]) > 1:
            groups.append([0])
            used = min_widths[0]
        groups[-1].append(index)
        used += _GAP + min_width
    return groups


def _render(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None
) -> list[str]:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="")
    for column in columns:
        table.add_column(Text(column.title), justify=column.justify, no_wrap=not column.wrap)
    for row in rows:
        table.add_row(*(Text(cell) for cell, _ in zip_longest(row, columns, fillvalue="")))
    output = io.StringIO()
    console = Console(
        file=output,
        width=width or 100_000,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    console.print(table)
    return [line.rstrip() for line in output.getvalue().rstrip("\n").split("\n")]


def format_minutes(minutes: float) -> str:
    """A duration such as "1 h 30 min", "2.5 min" or "40 s"."""
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    if minutes < 9.5:
        return f"{minutes:.2g} min"
    hours, rest = divmod(round(minutes), 60)
    return " ".join(
        part for part in (f"{hours} h" if hours else "", f"{rest} min" if rest else "") if part
    )
