"""Tests of the selection of the number of CPU threads by timing."""

import time

import pytest

from phinas.training.timing.thread_tuning import ThreadTuner, select_threads, thread_counts


class Machine:
    """A machine with a simulated clock, on which a step takes a time for each number of threads."""

    def __init__(self, step_seconds):
        self.step_seconds = step_seconds
        self.now = 0.0
        self.threads = 0
        self.changes = []

    def set_threads(self, threads):
        self.threads = threads
        self.changes.append(threads)

    def clock(self):
        return self.now

    def run_step(self):
        self.now += self.step_seconds[self.threads]

    def tuner(self, max_threads):
        return ThreadTuner(max_threads, set_threads=self.set_threads, clock=self.clock)

    def train(self, tuner, steps):
        for _ in range(steps):
            self.run_step()
            tuner.end_step()


@pytest.mark.parametrize(
    ("max_threads", "counts"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_compared_numbers_are_powers_of_two_and_the_largest(max_threads, counts):
    assert thread_counts(max_threads) == counts


@pytest.mark.parametrize(
    ("step_seconds", "fastest"),
    [
        ({1: 0.2, 2: 0.12, 4: 0.07}, 4),
        ({1: 0.2, 2: 0.12, 4: 0.15}, 2),
        ({1: 0.2, 2: 3.0, 4: 3.0}, 1),
        ({1: 0.002, 2: 0.0012, 4: 0.001}, 4),
    ],
)
def test_fastest_number_is_selected(step_seconds, fastest):
    machine = Machine(step_seconds)
    tuner = machine.tuner(4)
    machine.train(tuner, 400)
    assert machine.threads == tuner.threads == fastest


def test_much_slower_number_costs_one_step():
    machine = Machine({1: 0.2, 2: 10.0})
    tuner = machine.tuner(2)
    machine.train(tuner, 20)
    assert machine.threads == 1
    assert machine.now == pytest.approx(10.0 + 19 * 0.2)


@pytest.mark.parametrize(
    ("step_seconds", "changes"),
    [
        ({1: 8.0, 2: 4.0, 4: 2.0, 8: 1.0, 16: 0.5}, [4, 8, 16]),
        ({1: 8.0, 2: 4.0, 4: 2.0, 8: 3.0, 16: 4.0}, [4, 8, 2, 4]),
        ({1: 0.1, 2: 0.15, 4: 0.3, 8: 0.6, 16: 1.2}, [4, 8, 2, 1]),
    ],
)
def test_search_follows_the_faster_direction_from_the_middle(step_seconds, changes):
    machine = Machine(step_seconds)
    machine.train(machine.tuner(16), 16)
    assert machine.changes == changes


def test_later_selection_begins_with_the_current_number():
    machine = Machine({1: 8.0, 2: 4.0, 4: 2.0, 8: 1.0, 16: 0.5})
    tuner = machine.tuner(16)
    machine.train(tuner, 200)
    assert machine.changes[:4] == [4, 8, 16, 8]  # 8 costs one step, since it takes twice as long
    assert set(machine.changes[3:]) == {8, 16}


def test_speed_drop_repeats_the_selection():
    machine = Machine({1: 0.20, 2: 0.12})
    tuner = machine.tuner(2)
    machine.train(tuner, 30)
    assert machine.threads == 2
    machine.step_seconds = {1: 0.25, 2: 2.0}  # other processes have started
    machine.train(tuner, 30)
    assert machine.threads == 1


def test_selection_is_repeated_later_without_a_drop():
    machine = Machine({1: 0.25, 2: 2.0})
    tuner = machine.tuner(2)
    machine.train(tuner, 20)
    assert machine.threads == 1
    machine.step_seconds = {1: 0.25, 2: 0.12}  # the other processes have ended
    machine.train(tuner, 300)
    assert machine.threads == 2


def test_repeated_selections_cost_little():
    machine = Machine({1: 0.2, 2: 2.0})
    machine.train(machine.tuner(2), 5000)
    assert machine.now < 1.05 * 5000 * 0.2


def test_skipped_step_is_not_timed():
    machine = Machine({1: 0.1, 2: 0.06})
    tuner = machine.tuner(2)
    machine.train(tuner, 30)
    changes = len(machine.changes)
    for _ in range(30):
        machine.now += 20.0  # an evaluation
        tuner.skip_step()
        tuner.end_step()
    assert len(machine.changes) == changes


def test_one_available_cpu_has_nothing_to_select():
    machine = Machine({1: 0.1})
    machine.train(machine.tuner(1), 100)
    assert machine.changes == [1]


def test_function_is_timed_until_the_number_is_selected():
    machine = Machine({1: 0.10, 2: 0.03})

    def infer():
        time.sleep(machine.step_seconds[machine.threads])

    assert select_threads(infer, 2, set_threads=machine.set_threads) == 2
    assert machine.threads == 2
