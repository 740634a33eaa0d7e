"""Tests of CSV text: no cell is a formula of a spreadsheet program."""

import csv
import io

import pytest

from phinas.experiment.csv_text import escape_cell, make_csv_text
from phinas.fit_pipeline.results import _confusion_table


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        '=HYPERLINK("http://x","y")',
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
    ],
)
def test_cell_that_would_be_a_formula_becomes_text(text):
    (row,) = list(csv.DictReader(io.StringIO(make_csv_text(["class"], [[text]]), newline="")))
    assert row == {"class": f"'{text}"}


def test_carriage_return_does_not_begin_a_cell():
    assert make_csv_text(["class"], [["\r=1"], ["a\r=1"]]) == "class\n' =1\na =1\n"


def test_class_names_in_the_tables_of_a_fit_are_no_formulas():
    text = _confusion_table(["=1+1", "dog"], [(0, 1, 3)])
    assert text == "label,prediction,images\n'=1+1,dog,3\n"


@pytest.mark.parametrize("value", ["cat", "", "a=b", "-1", "+2.5", "1e-3", -0.25, 3, None])
def test_other_cells_stay_as_they_are(value):
    assert escape_cell(value) == value
