"""What the tables of the page are made of: cells of text, with the exact number as the key to sort
by.
"""

from dataclasses import dataclass

from phinas.reports.formatting import percent


@dataclass(frozen=True, slots=True)
class Cell:
    """text as shown; key to sort by where the text will not do."""

    text: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """columns: name and whether it is a number; marked: index of the row that stands out; note:
    below the table.
    """

    columns: tuple[tuple[str, bool], ...]
    rows: list[list[Cell]]
    marked: int | None = None
    note: str = ""


def whole(value: float) -> Cell:
    return Cell(f"{value:,}", str(value))


def percentage(value: float) -> Cell:
    return Cell(percent(value), repr(value))


def number(value: float, digits: int) -> Cell:
    return Cell(f"{value:.{digits}f}", repr(value))


def columns(*names: str) -> tuple[tuple[str, bool], ...]:
    """A name that ends in `:` is of words; others are of numbers."""
    return tuple((name.rstrip(":"), not name.endswith(":")) for name in names)
