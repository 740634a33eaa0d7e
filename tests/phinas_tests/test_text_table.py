"""Plain-text tables: aligned, never truncated, and split where the columns do not fit the width."""

from phinas.terminal.text_table import Column, format_table

COLUMNS = [
    Column("name", "left"),
    Column("text", "left", wrap=True),
    Column("count"),
    Column("ratio"),
]
ROWS = [["a [b]", "several words to wrap", "1,234,567", "2.000"], [], ["b", "x", "3", "4.000"]]


def test_columns_are_aligned_and_an_empty_row_is_a_blank_line():
    assert format_table(COLUMNS, ROWS) == [
        "name   text                       count  ratio",
        "a [b]  several words to wrap  1,234,567  2.000",
        "",
        "b      x                              3  4.000",
    ]


def test_only_columns_with_wrap_are_wrapped_to_the_width():
    lines = format_table(COLUMNS, ROWS, width=40)
    assert max(map(len, lines)) <= 40
    assert lines[1].split() == ["a", "[b]", "several", "words", "1,234,567", "2.000"]


def test_columns_that_do_not_fit_continue_below_with_the_first_column_repeated():
    lines = format_table(COLUMNS, ROWS, width=26)
    assert max(map(len, lines)) <= 26
    assert [line.split() for line in lines if line.startswith(("name", "b"))] == [
        ["name", "text", "count"],
        ["b", "x", "3"],
        ["name", "ratio"],
        ["b", "4.000"],
    ]


def test_no_cell_is_truncated_when_the_width_is_too_small():
    text = " ".join(format_table(COLUMNS, ROWS, width=5))
    assert all(cell in text for cell in ("a [b]", "several", "1,234,567", "2.000"))
