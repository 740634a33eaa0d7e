"""The claims of the race in simulations (benchmarks/race_coverage.py)."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def race_coverage(monkeypatch):
    """The module benchmarks/race_coverage.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import race_coverage

    yield race_coverage
    for name in ("race_coverage", "race_structures"):
        del sys.modules[name]


def test_structures_have_what_they_say(race_coverage):
    coordinates = race_coverage.grid_coordinates()
    named = race_coverage.NAMED

    def samples(name, **changes):
        structure = replace(named[name], noise=0.0, seed_effect=0.0, **changes)
        return [structure.sample(coordinates, 5, seed) for seed in range(40)]

    for name, sign in (("short ranks opposed", -1), ("smooth", 1)):
        correlations = [np.corrcoef(s.truth, s.short)[0, 1] for s in samples(name)]
        assert sign * np.mean(correlations) > 0.5
    unrelated = [np.corrcoef(s.truth, s.short)[0, 1] for s in samples("short ranks unrelated")]
    assert abs(np.mean(unrelated)) < 0.2
    for sample in samples("4 near-equal members, 8 far below"):
        assert np.diff(np.sort(sample.truth)).argmax() == 7
    failing = samples("one training in twenty fails")
    assert 0.02 < np.mean([np.isnan(s.full).mean() for s in failing]) < 0.08
    diverged = samples("one training in thirty diverges")
    assert 0.01 < np.mean([(s.full < 0.31).mean() for s in diverged]) < 0.06


def test_a_continued_training_shares_the_noise_of_the_short_one(race_coverage):
    structure = replace(race_coverage.NAMED["equal"], drift=0.0, seed_effect=0.0, continued=0.64)
    coordinates = race_coverage.grid_coordinates()
    samples = [structure.sample(coordinates, 5, seed) for seed in range(300)]
    short = np.concatenate([sample.short for sample in samples])
    correlations = [
        np.corrcoef(short, np.concatenate([sample.full[seed] for sample in samples]))[0, 1]
        for seed in (0, 1)
    ]
    assert correlations == pytest.approx([0.8, 0.0], abs=0.05)


def test_random_structures_are_those_of_their_seed(race_coverage):
    random_structures = race_coverage.random_structures
    assert random_structures(5, 1) == random_structures(5, 1) != random_structures(5, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "smooth, large differences",
        "short ranks opposed",
        "4 near-equal members, 8 far below",
        "one training in twenty fails",
        "one training in thirty diverges",
    ],
)
def test_the_tie_set_holds_the_best_and_single_winners_are_right(race_coverage, name):
    """More than 7 of 60 races miss with a probability of 1% at a rate of 5%, and of 93% at one of
    20%.
    """
    counts = race_coverage.simulate(
        race_coverage.NAMED[name],
        num_races=60,
        seed=0,
        max_budget_fraction=0.4,
        continues_trainings=True,
    )
    assert counts.races == 60
    assert counts.keeps_best >= 60 - 7
    assert counts.false_winner <= 7
    intervals = counts.intervals["2 or more full"]
    assert np.mean(intervals) > 0.85
