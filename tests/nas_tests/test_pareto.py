"""The front of accuracy against FLOPs, against its definition."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from experiment.measurement import Measurement
from nas.pareto import pareto_front
from nas.trial import Trial
from space.cost import Cost
from space.loading import load_space

SPEC = load_space("tiny").base


def trial(number: int, flops: int, accuracy: float) -> Trial:
    return Trial(number, number, SPEC, Cost(flops, 1, 1, 1), accuracy, Measurement(accuracy))


POINTS = st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])), max_size=30)
TRIALS = POINTS.map(lambda points: [trial(number, *point) for number, point in enumerate(points)])


def at_least_as_good(one: Trial, other: Trial) -> bool:
    return one.cost.flops <= other.cost.flops and one.accuracy >= other.accuracy


@given(TRIALS)
def test_the_front_rises_in_both_strictly(trials):
    front = pareto_front(trials)
    pairs = list(pairwise(front))
    assert all(left.cost.flops < right.cost.flops and left.accuracy < right.accuracy for left, right in pairs)


@given(TRIALS)
def test_every_trial_is_matched_or_beaten_by_one_of_the_front(trials):
    front = pareto_front(trials)
    assert all(member in trials for member in front)
    assert all(any(at_least_as_good(member, one) for member in front) for one in trials)


@given(TRIALS)
def test_nothing_beats_a_member_of_the_front(trials):
    for member in pareto_front(trials):
        better = [one for one in trials if at_least_as_good(one, member) and not at_least_as_good(member, one)]
        assert better == []


@given(TRIALS, st.randoms(use_true_random=False))
def test_the_order_of_the_trials_does_not_matter_to_the_points(trials, generator):
    shuffled = generator.sample(trials, len(trials))
    points = [[(one.cost.flops, one.accuracy) for one in pareto_front(some)] for some in (trials, shuffled)]
    assert points[0] == points[1]


def test_of_equal_trials_the_first_is_on_the_front():
    front = pareto_front([trial(4, 10, 0.5), trial(7, 10, 0.5), trial(9, 11, 0.5)])
    assert [one.number for one in front] == [4]
