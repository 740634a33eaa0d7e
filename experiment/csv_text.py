"""CSV tables as text. A cell is never a formula.

A spreadsheet program evaluates a cell that begins with one of `= + - @`, a tab or a carriage
return, and class and file names come from whoever made a data set. Such a cell gets an apostrophe
before it, as OWASP advises: spreadsheets take it as text, and it stays readable. Numbers stay as
they are. A carriage return becomes a space, because it ends a row where it is not quoted.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def make_csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A table with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([escape_cell(value) for value in row] for row in rows)
    return text.getvalue()


def escape_cell(value: object) -> object:
    """The value of a cell, with an apostrophe before text that would be a formula."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")
    is_formula = value.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(value)
    return f"'{text}" if is_formula else text
