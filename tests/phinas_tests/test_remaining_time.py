"""The remaining time of a stage changes slowly, whatever the durations of its steps are."""

import heapq
import random

import pytest

from phinas.terminal.remaining_time import RunClock, StageClock, format_about

# Seconds of the trainings of two runs of the quick start, in the order of their start.
RECORDED = {
    "search, the first trials start the workers": [
        *(14.3, 14.5, 4.4, 3.8, 3.9, 4.1, 3.6, 3.7, 5.0, 3.4, 4.4, 4.4, 4.5, 4.2, 4.0, 4.4),
    ],
    "scaling, short trainings come first": [
        *(1.9, 2.1, 1.9, 1.9, 1.7, 1.8, 10.1, 10.3, 10.7, 10.4, 12.3, 12.0, 10.4, 10.0, 7.3),
        *(10.6, 10.3),
    ],
    "validation, networks grow": [
        *(11.5, 15.7, 22.6, 44.4, 60.0, 25.9, 34.9, 35.2, 9.9, 15.5, 19.2, 41.2, 51.9, 24.0),
        *(36.1, 34.7),
    ],
}
SIMULATED = {
    "equal steps": [10.0] * 40,
    "one step takes five times as long": [10.0] * 10 + [50.0] + [10.0] * 20,
    "pruned trials are short": [60.0, 58.0, 12.0, 61.0, 11.0, 13.0, 59.0, 12.0, 60.0, 12.5] * 2,
    "durations vary by a factor of ten": [
        10 ** random.Random(number).uniform(0, 1) for number in range(60)
    ],
}


def completions(durations, workers):
    """The times at which steps are done by some workers, which start the next step at once."""
    free, ends = [0.0] * workers, []
    for duration in durations:
        end = heapq.heappop(free) + duration
        heapq.heappush(free, end)
        ends.append(end)
    return sorted(ends)


def largest_jump(durations, workers, clock, *, expected_seconds=None):
    """The largest factor by which the shown time changes when a step is done.

    The last three steps do not count: their time is as uncertain as that of one step.
    """
    clock(0)
    stage = StageClock(expected_seconds)
    stage.update(0, len(durations))
    jumps = [1.0]
    for done, seconds in enumerate(completions(durations, workers)[:-3], start=1):
        clock(seconds)
        before = stage.seconds_left()
        stage.update(done, len(durations))
        after = stage.seconds_left()
        if before and after:
            jumps.append(max(before / after, after / before))
    return max(jumps)


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("name", [*RECORDED, *SIMULATED])
def test_the_remaining_time_never_doubles_or_halves_at_once(name, workers, clock):
    assert largest_jump((RECORDED | SIMULATED)[name], workers, clock) < 2


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_wrong_expectation_is_corrected_in_small_steps(factor, clock):
    durations = [10.0] * 40
    expected = factor * sum(durations)
    assert largest_jump(durations, 1, clock, expected_seconds=expected) < 2
    clock(0)
    stage = StageClock(expected)
    for done in range(31):
        clock(10 * done)
        stage.update(done, 40)
    assert stage.seconds_left() == pytest.approx(100, rel=0.35)


def test_nothing_is_known_before_three_steps_without_an_expectation(clock):
    stage = StageClock()
    for done in range(4):
        clock(10 * done)
        stage.update(done, 10)
        assert (stage.seconds_left() is None) == (done < 3)
    assert stage.seconds_left() == pytest.approx(70)


def test_steps_that_were_recorded_before_count_as_no_time(clock):
    stage = StageClock()
    stage.update(20, 40)
    for done in range(1, 6):
        clock(10 * done)
        stage.update(20 + done, 40)
    assert stage.seconds_left() == pytest.approx(150)


def test_the_remaining_time_decreases_while_a_step_runs(clock):
    stage = StageClock()
    for done in range(4):
        clock(100 * done)
        stage.update(done, 10)
    clock(350)
    assert stage.seconds_left() == pytest.approx(650)
    clock(2000)
    assert stage.seconds_left() == pytest.approx(600)  # the steps after it


def test_the_run_has_the_time_of_its_waiting_stages_in_proportion_to_their_work(clock):
    run = RunClock({"search": 100.0, "scaling": 50.0, "validation": 200.0})
    stage = run.begin_stage("search")
    for done in range(6):
        clock(10 * done)
        stage.update(done, 10)
    assert run.seconds_left() == pytest.approx(50 + 50 + 200)


def test_a_resumed_stage_says_nothing_about_the_speed_of_others(clock):
    run = RunClock({"search": 100.0, "scaling": 50.0})
    stage = run.begin_stage("search")
    stage.update(10, 10)
    clock(1)
    run.end_stage()
    assert run.begin_stage("scaling").seconds_left() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "about 10 s"),
        (44, "about 40 s"),
        (119, "about 2 min"),
        (26 * 60, "about 25 min"),
        (61 * 60, "about 1 h"),
        (80 * 60, "about 1 h 20 min"),
        (26 * 3600, "about 26 h"),
    ],
)
def test_durations_are_round(seconds, text):
    assert format_about(seconds) == text
