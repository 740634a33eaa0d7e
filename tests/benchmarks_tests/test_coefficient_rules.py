"""Rules that take alpha, beta and gamma from a race (benchmarks/coefficient_rules.py)."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("coefficient_rules", "simulated_races", "direction_rules", "accuracy_surfaces")
SMALL = "small images, 32 px"


@pytest.fixture
def benchmark(monkeypatch):
    """The module benchmarks/coefficient_rules.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import coefficient_rules

    yield coefficient_rules
    for name in MODULES:
        sys.modules.pop(name, None)


def race_data(benchmark, directions, probabilities, *, ties):
    rows = [
        SimpleNamespace(probability_of_best=value, score_gap=1 - value) for value in probabilities
    ]
    winner = int(np.argmax(probabilities))
    result = SimpleNamespace(member_results=rows, winner=winner, ties=ties)
    return benchmark.RaceData(np.array(directions), np.array(directions), result, 1.0)


def test_a_baseline_has_about_75_percent_on_every_surface_and_more_flops_help(benchmark):
    for surface in benchmark.SURFACES.values():
        one = np.ones(1)
        assert 70 < float(surface(one, one, one)[0]) < 80
        assert float(surface(1.4 * one, 1.4 * one, 1.4 * one)[0]) > float(surface(one, one, one)[0])


def test_random_surfaces_rise_in_each_dimension(benchmark):
    multiples = np.linspace(1, 30, 50)
    for surface in benchmark.random_surfaces(10, 3).values():
        for dimension in range(3):
            arguments = [np.full(50, 2.0) for _ in range(3)]
            arguments[dimension] = multiples
            assert (np.diff(surface(*arguments)) >= -1e-9).all()


def test_rules_agree_where_a_race_decides_and_published_ones_enter_only_where_they_should(
    benchmark,
):
    data = race_data(benchmark, np.eye(3), [0.0, 1.0, 0.0], ties=(1,))
    directions = {name: rule(data) for name, rule in benchmark.RULES.items()}
    for name in ("winner", "centroid", "winner if single, else centroid"):
        assert directions[name] == pytest.approx([0, 1, 0])
    published = directions["published"]
    assert directions[benchmark.PROPOSED] == pytest.approx((published + np.eye(3)[1]) / 2)
    for direction in directions.values():
        assert direction.sum() == pytest.approx(1)
        assert direction.min() >= -1e-9


def test_prior_weights_make_the_published_direction_where_nothing_is_decided(benchmark):
    data = race_data(benchmark, np.eye(3), [1 / 3] * 3, ties=(0, 1, 2))
    direction = benchmark.RULES["centroid, prior weights"](data)
    assert direction == pytest.approx(benchmark.RULES["published"](data), abs=0.01)


def test_the_loss_is_smallest_at_the_best_direction(benchmark):
    surface = benchmark.SURFACES["additive, width matters most"]
    losses = benchmark.Losses((SMALL, 1.0, "balanced"), 3.0, surface)
    values = [losses.of(direction) for direction in benchmark.all_directions()]
    assert min(values) == pytest.approx(0)
    assert losses.of(np.array([0.0, 1.0, 0.0])) < losses.of(np.array([1.0, 0.0, 0.0])) - 1


def test_a_race_on_a_clear_surface_finds_the_best_member(benchmark):
    surface = benchmark.SURFACES["additive, width matters most"]
    cell = benchmark.simulate((SMALL, 1.0, "balanced"), surface, 0.05, range(2))
    names = list(benchmark.RULES)
    assert cell.losses.shape == (3, len(names))
    assert cell.losses[0, names.index("winner")] < cell.losses[0, names.index("published")]
    assert cell.ties < 3
    assert cell.cost > 0
