"""The comparison, by simulation: how often it claims a winner where there is none, and finds one
where there is.
"""

import math

import numpy as np
import pytest

from phinas.experiment.statistics.paired_comparison import chance_of_best, compare, difference


def table(gaps, seeds, *, generator, noise=0.005, luck=0.02):
    """Accuracies of networks that differ by `gaps`; a seed's luck is shared by all."""
    shared = generator.normal(0, luck, seeds)
    return {
        f"n{row}": list(0.8 + gap + shared + generator.normal(0, noise, seeds))
        for row, gap in enumerate(gaps)
    }


@pytest.mark.parametrize(("rows", "seeds"), [(2, 2), (2, 3), (3, 2), (4, 2), (4, 3), (12, 3)])
def test_a_winner_is_claimed_among_equals_in_at_most_one_of_twenty_comparisons(rows, seeds):
    generator = np.random.default_rng(rows * 100 + seeds)
    claims = sum(
        len(compare(table([0] * rows, seeds, generator=generator)).ties) == 1 for _ in range(400)
    )
    assert claims / 400 <= 0.05 + 3 * math.sqrt(
        0.05 * 0.95 / 400
    )  # three standard errors of the simulation


def test_the_truly_best_is_among_the_ties_in_at_least_nineteen_of_twenty():
    generator = np.random.default_rng(1)
    gaps = [0.003, 0.002, 0.001, 0, 0, 0]
    kept = sum("n0" in compare(table(gaps, 3, generator=generator)).ties for _ in range(400))
    assert kept / 400 >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("rows", [2, 4, 12])
def test_a_clear_winner_is_found(rows):
    generator = np.random.default_rng(2)
    gaps = [0.0] * (rows - 1) + [0.1]
    found = [compare(table(gaps, 3, generator=generator)) for _ in range(100)]
    assert sum(one.ties == (f"n{rows - 1}",) for one in found) >= 95


def test_the_luck_that_a_seed_brings_to_all_is_no_noise():
    generator = np.random.default_rng(3)
    means = [
        compare(table([0] * 12, 3, generator=generator, luck=luck)).deviation
        for luck in (0.0, 0.5)
        for _ in range(40)
    ]
    assert (
        np.mean(means[:40])
        == pytest.approx(np.mean(means[40:]), rel=0.15)
        == pytest.approx(0.005, rel=0.15)
    )


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    generator = np.random.default_rng(4)
    covered = [
        abs(compared.means["n0"] - 0.8) <= compared.half_width
        for compared in (
            compare(table([0] * 6, 3, generator=generator, luck=0.0)) for _ in range(400)
        )
    ]
    assert 0.91 <= np.mean(covered) <= 0.99


def test_with_one_seed_nothing_can_be_told_apart():
    compared = compare({"a": [0.1], "b": [0.9], "c": [0.5]})
    assert (compared.winner, compared.ties) == ("b", ("a", "b", "c"))
    assert math.isnan(compared.deviation)
    assert compared.margin == compared.half_width == math.inf


def test_one_network_is_its_own_winner():
    assert compare({"a": [0.1, 0.2]}).ties == ("a",)


def test_more_seeds_tell_smaller_differences_apart():
    generator = np.random.default_rng(5)
    margins = [
        np.mean([compare(table([0] * 4, seeds, generator=generator)).margin for _ in range(40)])
        for seeds in (2, 4, 8)
    ]
    assert margins[0] > margins[1] > margins[2]


def test_the_equal_are_ties_and_the_first_of_them_the_winner():
    compared = compare({"a": [0.5, 0.6], "b": [0.5, 0.6], "c": [0.1, 0.2]})
    assert (compared.winner, compared.ties) == ("a", ("a", "b"))
    assert compared.means == {"a": 0.55, "b": 0.55, "c": pytest.approx(0.15)}


def test_a_worked_example():
    # Residuals of +-0.01 in a 2 x 2 table: deviation 0.02; t(0.975, 1) = 12.706.
    compared = compare({"a": [0.50, 0.60], "b": [0.52, 0.58]})
    assert compared.deviation == pytest.approx(0.02)
    assert compared.margin == pytest.approx(12.706 * 0.02, rel=1e-4)
    assert compared.half_width == pytest.approx(12.706 * 0.02 / math.sqrt(2), rel=1e-4)


@pytest.mark.parametrize("bad", [{}, {"a": []}, {"a": [0.1], "b": [0.1, 0.2]}])
def test_an_empty_or_ragged_table_is_refused(bad):
    with pytest.raises(ValueError, match="rows of one length"):
        compare(bad)


@pytest.mark.parametrize(("rows", "seeds"), [(2, 2), (4, 2), (4, 3)])
@pytest.mark.parametrize("spread", [0.0025, 0.005, 0.015])
def test_the_chance_of_the_winner_is_never_far_above_how_often_it_is_right(rows, seeds, spread):
    generator = np.random.default_rng(rows + seeds)
    said, right = [], []
    for _ in range(150):
        gaps = generator.normal(0, spread, rows)
        seen = table(gaps, seeds, generator=generator)
        said.append(chance_of_best(seen))
        right.append(compare(seen).winner == f"n{gaps.argmax()}")
    assert np.mean(said) <= np.mean(right) + 0.04 + 2 * np.std(right) / len(right) ** 0.5


def test_equals_without_noise_share_the_chance_and_a_better_one_has_all_of_it():
    assert chance_of_best({"a": [0.5, 0.5], "b": [0.5, 0.5]}) == pytest.approx(0.5)
    assert chance_of_best({"a": [0.5, 0.5], "b": [0.6, 0.6]}) == 1.0
    assert chance_of_best({"a": [0.5]}) == 1.0
    assert math.isnan(chance_of_best({"a": [0.5], "b": [0.6]}))


def test_the_interval_of_a_difference_covers_it_also_where_the_first_is_the_best_of_many():
    generator = np.random.default_rng(5)
    covered = []
    for _ in range(400):
        seen = table([0.0] * 5, 3, generator=generator)
        winner = compare({name: row for name, row in seen.items() if name != "n4"}).winner
        low, high = difference(seen, winner, "n4", candidates=4)[1:]
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


def test_one_training_each_says_nothing_of_how_sure_a_difference_is():
    assert difference({"a": [0.75], "b": [0.5]}, "a", "b") == (0.25, -math.inf, math.inf)
