"""Tests of the comparison of networks, with simulations of its error rates and coverage."""

import math

import numpy as np
import pytest

from phinas.experiment.statistics.paired_comparison import (
    compare,
    compare_pair,
    probability_of_best,
)


def table(gaps, seeds, *, generator, noise=0.005, seed_effect_std=0.02):
    """Simulate accuracies of networks that differ by `gaps`, with a common effect of each seed."""
    seed_effects = generator.normal(0, seed_effect_std, seeds)
    return {
        f"n{row}": list(0.8 + gap + seed_effects + generator.normal(0, noise, seeds))
        for row, gap in enumerate(gaps)
    }


@pytest.mark.parametrize(("rows", "seeds"), [(2, 2), (2, 3), (3, 2), (4, 2), (4, 3), (12, 3)])
def test_one_of_equal_networks_is_significantly_better_in_at_most_5_percent(rows, seeds):
    generator = np.random.default_rng(rows * 100 + seeds)
    num_errors = sum(
        len(compare(table([0] * rows, seeds, generator=generator)).ties) == 1 for _ in range(400)
    )
    # three standard errors of the simulation
    assert num_errors / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_the_truly_best_network_is_tied_with_the_winner_in_at_least_95_percent():
    generator = np.random.default_rng(1)
    gaps = [0.003, 0.002, 0.001, 0, 0, 0]
    num_tied = sum("n0" in compare(table(gaps, 3, generator=generator)).ties for _ in range(400))
    assert num_tied / 400 >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("rows", [2, 4, 12])
def test_a_much_better_network_is_significantly_better(rows):
    generator = np.random.default_rng(2)
    gaps = [0.0] * (rows - 1) + [0.1]
    comparisons = [compare(table(gaps, 3, generator=generator)) for _ in range(100)]
    assert sum(comparison.ties == (f"n{rows - 1}",) for comparison in comparisons) >= 95


def test_the_common_effect_of_a_seed_is_not_noise():
    generator = np.random.default_rng(3)
    means = [
        compare(table([0] * 12, 3, generator=generator, seed_effect_std=seed_effect_std)).noise_std
        for seed_effect_std in (0.0, 0.5)
        for _ in range(40)
    ]
    assert (
        np.mean(means[:40])
        == pytest.approx(np.mean(means[40:]), rel=0.15)
        == pytest.approx(0.005, rel=0.15)
    )


def test_the_interval_of_a_mean_has_its_nominal_coverage():
    generator = np.random.default_rng(4)
    covered = [
        abs(comparison.means["n0"] - 0.8) <= comparison.half_width
        for comparison in (
            compare(table([0] * 6, 3, generator=generator, seed_effect_std=0.0)) for _ in range(400)
        )
    ]
    assert 0.91 <= np.mean(covered) <= 0.99


def test_with_one_seed_no_difference_is_significant():
    comparison = compare({"a": [0.1], "b": [0.9], "c": [0.5]})
    assert (comparison.winner, comparison.ties) == ("b", ("a", "b", "c"))
    assert math.isnan(comparison.noise_std)
    assert comparison.margin == comparison.half_width == math.inf


def test_one_network_is_its_own_winner():
    assert compare({"a": [0.1, 0.2]}).ties == ("a",)


def test_more_seeds_make_smaller_differences_significant():
    generator = np.random.default_rng(5)
    margins = [
        np.mean([compare(table([0] * 4, seeds, generator=generator)).margin for _ in range(40)])
        for seeds in (2, 4, 8)
    ]
    assert margins[0] > margins[1] > margins[2]


def test_equal_networks_are_ties_and_the_first_is_the_winner():
    comparison = compare({"a": [0.5, 0.6], "b": [0.5, 0.6], "c": [0.1, 0.2]})
    assert (comparison.winner, comparison.ties) == ("a", ("a", "b"))
    assert comparison.means == {"a": 0.55, "b": 0.55, "c": pytest.approx(0.15)}


def test_noise_and_margin_equal_a_calculation_by_hand():
    # residuals of +-0.01 in a 2 x 2 table: standard deviation 0.02; t(0.975, 1) = 12.706
    comparison = compare({"a": [0.50, 0.60], "b": [0.52, 0.58]})
    assert comparison.noise_std == pytest.approx(0.02)
    assert comparison.margin == pytest.approx(12.706 * 0.02, rel=1e-4)
    assert comparison.half_width == pytest.approx(12.706 * 0.02 / math.sqrt(2), rel=1e-4)


@pytest.mark.parametrize("invalid_table", [{}, {"a": []}, {"a": [0.1], "b": [0.1, 0.2]}])
def test_an_empty_or_ragged_table_is_refused(invalid_table):
    with pytest.raises(ValueError, match="rows of equal length"):
        compare(invalid_table)


@pytest.mark.parametrize(
    ("spread", "rows", "seeds"),
    [
        (0.0025, 2, 2),
        (0.005, 4, 2),
        (0.015, 4, 3),
        *(
            pytest.param(*parameters, marks=pytest.mark.slow)
            for parameters in (
                (0.0025, 4, 2),
                (0.0025, 4, 3),
                (0.005, 2, 2),
                (0.005, 4, 3),
                (0.015, 2, 2),
                (0.015, 4, 2),
            )
        ),
    ],
)
def test_the_probability_of_the_winner_is_not_much_above_how_often_it_is_truly_the_best(
    spread, rows, seeds
):
    generator = np.random.default_rng(rows + seeds)
    probabilities, is_best = [], []
    for _ in range(150):
        gaps = generator.normal(0, spread, rows)
        scores = table(gaps, seeds, generator=generator)
        probabilities.append(probability_of_best(scores))
        is_best.append(compare(scores).winner == f"n{gaps.argmax()}")
    assert (
        np.mean(probabilities)
        <= np.mean(is_best) + 0.04 + 2 * np.std(is_best) / len(is_best) ** 0.5
    )


def test_without_noise_equal_networks_share_the_probability_and_a_better_one_has_all_of_it():
    assert probability_of_best({"a": [0.5, 0.5], "b": [0.5, 0.5]}) == pytest.approx(0.5)
    assert probability_of_best({"a": [0.5, 0.5], "b": [0.6, 0.6]}) == 1.0
    assert probability_of_best({"a": [0.5]}) == 1.0
    assert math.isnan(probability_of_best({"a": [0.5], "b": [0.6]}))


def test_the_interval_of_a_difference_has_its_coverage_also_for_the_best_of_many_networks():
    generator = np.random.default_rng(5)
    covered = []
    for _ in range(400):
        scores = table([0.0] * 5, 3, generator=generator)
        winner = compare({name: row for name, row in scores.items() if name != "n4"}).winner
        low, high = compare_pair(scores, winner, "n4", candidates=4)[1:]
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


def test_with_one_seed_the_interval_of_a_difference_is_infinite():
    assert compare_pair({"a": [0.75], "b": [0.5]}, "a", "b") == (0.25, -math.inf, math.inf)
