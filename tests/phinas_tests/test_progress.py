"""Progress lines on a standard error that is not a terminal."""

import re

import pytest

from phinas.terminal.progress import Display


def lines_of_a_stage(capsys, **settings):
    with Display().stage("search", unit="trials", interval_seconds=0.0, **settings) as report:
        report(0, 2, "")
        report(1, 2, "latest: trial 0, 90.0%")
        report(2, 2, "best so far 92.0%")
    return capsys.readouterr().err.splitlines()


def test_each_line_has_the_number_of_steps_their_unit_and_the_text(capsys):
    first, second, third, _ = lines_of_a_stage(capsys)
    assert first == "search: 0 of 2 trials"
    assert re.fullmatch(r"search: 1 of 2 trials, 0:00 left, latest: trial 0, 90\.0%", second)
    assert third == "search: 2 of 2 trials, best so far 92.0%"


@pytest.mark.parametrize(("text_is_result", "end"), [(True, ", best so far 92.0%"), (False, "")])
def test_the_last_line_has_the_text_where_it_describes_the_result(capsys, text_is_result, end):
    *_, last = lines_of_a_stage(capsys, text_is_result=text_is_result)
    assert last == f"search: done in 0:00{end}"


def test_a_quiet_display_prints_nothing(capsys):
    with Display(quiet=True).stage("search") as report:
        report(1, 1, "best so far 92.0%")
    assert capsys.readouterr().err == ""
