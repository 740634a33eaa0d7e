"""Cells and columns of the page's tables: text, with the exact number as the sort key."""

from dataclasses import dataclass

from phinas.reports.formatting import format_percent


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text, and its sort key where that is not the text."""

    text: str
    sort_key: str = ""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table.

    Attributes:
        columns: Of each its name, and whether it has numbers.
        rows: One cell for each column.
        highlighted_row: Its index.
        note: A sentence below the table.
    """

    columns: tuple[tuple[str, bool], ...]
    rows: list[list[Cell]]
    highlighted_row: int | None = None
    note: str = ""


def make_integer_cell(value: float) -> Cell:
    return Cell(f"{value:,}", str(value))


def make_percent_cell(value: float) -> Cell:
    return Cell(format_percent(value), repr(value))


def make_number_cell(value: float, digits: int) -> Cell:
    return Cell(f"{value:.{digits}f}", repr(value))


def make_columns(*names: str) -> tuple[tuple[str, bool], ...]:
    """Columns by name; a name that ends in `:` is of a column of words."""
    return tuple((name.rstrip(":"), not name.endswith(":")) for name in names)
