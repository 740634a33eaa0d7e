"""What the tables of the page are made of: cells of text, with the exact number as the key to sort
by.
"""

from dataclasses import dataclass

from phinas.reports.formatting import format_percent


@dataclass(frozen=True, slots=True)
class Cell:
    """text as shown; sort_key where the text will not do."""

    text: str
    sort_key: str = ""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """columns: name and whether it is a number; highlighted_row: its index; note:
    below the table.
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
    """A name that ends in `:` is of words; others are of numbers."""
    return tuple((name.rstrip(":"), not name.endswith(":")) for name in names)
