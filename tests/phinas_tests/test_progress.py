"""Progress lines on a standard error that is not a terminal."""

import io
import re
import time

import pytest
from rich.console import Console

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
    assert second == "search: 1 of 2 trials, latest: trial 0, 90.0%"
    assert third == "search: 2 of 2 trials, best so far 92.0%"


@pytest.mark.parametrize(("text_is_result", "end"), [(True, ", best so far 92.0%"), (False, "")])
def test_the_last_line_has_the_text_where_it_describes_the_result(capsys, text_is_result, end):
    *_, last = lines_of_a_stage(capsys, text_is_result=text_is_result)
    assert last == f"search: done in 0:00{end}"


def test_a_quiet_display_prints_nothing(capsys):
    with Display(quiet=True).stage("search") as report:
        report(1, 1, "best so far 92.0%")
    assert capsys.readouterr().err == ""


def test_a_numbered_stage_says_which_of_how_many_it_is(capsys):
    display = Display()
    display.number_stages(["data", "search"])
    with display.stage("search", unit="trials") as report:
        report(1, 1, "")
    with display.stage("evaluator"):
        pass
    first, done, other = capsys.readouterr().err.splitlines()
    assert first == "stage 2 of 2, search: 1 of 1 trials"
    assert done.startswith("stage 2 of 2, search: done in ")
    assert other.startswith("evaluator: done in ")


def test_a_step_that_is_reported_again_has_no_second_line(capsys):
    with Display().stage("scaling", interval_seconds=0.0) as report:
        for done in (0, 1, 2, 1, 2, 2):
            report(done, 2, "")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines[:-1]] == [
        "scaling: 0 of 2",
        "scaling: 1 of 2",
        "scaling: 2 of 2",
    ]


def test_many_quick_steps_have_a_line_for_each_tenth_only(capsys):
    with Display().stage("training", unit="epochs", interval_seconds=0.0) as report:
        for done in range(101):
            report(done, 100, "")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + 10 + 1
    assert [line.split()[1] for line in lines[:-1]] == [str(step) for step in range(0, 101, 10)]


def test_a_slow_stage_has_a_line_after_thirty_seconds(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("phinas.terminal.progress.time.monotonic", lambda: clock[0])
    with Display().stage("search", unit="trials") as report:
        for done, seconds in ((0, 0), (1, 20), (2, 31), (3, 45), (4, 62)):
            clock[0] = float(seconds)
            report(done, 100, "")
    numbers = [line.split()[1] for line in capsys.readouterr().err.splitlines()[:-1]]
    assert numbers == ["0", "2", "4"]


def test_a_line_has_the_remaining_time_in_round_numbers(capsys, clock):
    with Display().stage("search", unit="trials", interval_seconds=0.0) as report:
        report(0, 40, "")
        for done in range(1, 13):
            clock(100 * done)
            report(done, 40, "")
    last = capsys.readouterr().err.splitlines()[-2]
    assert last == "search: 12 of 40 trials, about 45 min left"


def test_after_a_stage_the_remaining_time_of_the_run_is_known_from_the_start(capsys, clock):
    display = Display()
    display.number_stages(["search", "scaling", "validation"])
    display.weigh_stages({"search": 100.0, "scaling": 50.0, "validation": 200.0})
    with display.stage("search", unit="trials") as report:
        report(0, 10, "")
        for done in range(1, 11):
            clock(60 * done)
            report(done, 10, "")
    with display.stage("scaling", unit="trainings") as report:
        report(0, 5, "")
        clock(661)
        report(1, 5, "")
    lines = capsys.readouterr().err.splitlines()
    assert "stage 1 of 3, search: 3 of 10 trials, about 7 min left, run: about 30 min left" in lines
    assert "stage 2 of 3, scaling: 0 of 5 trainings, about 5 min left, run: about 25 min left" in (
        lines
    )


def test_the_last_stage_does_not_repeat_its_time_as_that_of_the_run(capsys, clock):
    display = Display()
    display.weigh_stages({"search": 100.0, "validation": 200.0})
    with display.stage("validation", unit="trainings") as report:
        report(0, 10, "")
        for done in range(1, 6):
            clock(60 * done)
            report(done, 10, "")
    assert "run:" not in capsys.readouterr().err


def test_the_bar_and_its_text_fit_80_columns(clock):
    display = Display()
    screen = io.StringIO()
    display._console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    display.number_stages(["data", "search", "finalists", "scaling", "validation", "report"])
    display.weigh_stages({"scaling": 10.0, "validation": 40.0})
    with display.stage("scaling", unit="trainings") as report:
        report(0, 40, "")
        for done in range(1, 13):
            clock(1000 * done)
            report(done, 40, "network 6 of 11: 67.0%, best so far 78.2%")
        time.sleep(0.3)  # until the screen is drawn again
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    lines = [line for part in text.split("\n") for line in part.split("\r")]
    assert max(map(len, lines)) <= 80
    assert any(
        "stage 4 of 6, scaling" in line and "12/40" in line and "about 7 h 50 min left" in line
        for line in lines
    )
    assert any("run: about" in line and "network 6 of 11: 67.0%" in line for line in lines)


def report_steps(display, clock, *, steps, seconds_per_step):
    with display.stage("search", unit="trials", interval_seconds=1e9) as report:
        report(0, 10, "")
        for done in range(1, steps + 1):
            clock(seconds_per_step * done)
            report(done, 10, "")


def test_a_run_that_will_exceed_its_time_budget_says_so_once(capsys, clock):
    display = Display()
    display.set_time_budget(4)
    report_steps(display, clock, steps=10, seconds_per_step=50)
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert note == (
        "note: the run is expected to take about 8 min, longer than its time budget of 4 min; it "
        "is not stopped"
    )


def test_a_run_within_its_time_budget_says_nothing_of_it(capsys, clock):
    display = Display()
    display.set_time_budget(4)
    report_steps(display, clock, steps=10, seconds_per_step=20)
    assert "note:" not in capsys.readouterr().err


def test_the_stages_that_follow_count_for_the_time_budget(capsys, clock):
    display = Display()
    display.weigh_stages({"search": 100.0, "validation": 300.0})
    display.set_time_budget(10)
    report_steps(display, clock, steps=6, seconds_per_step=20)
    assert "longer than its time budget of 10 min" in capsys.readouterr().err
