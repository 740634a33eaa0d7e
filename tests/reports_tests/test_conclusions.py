"""The conclusions follow from the numbers."""

import math

import numpy as np
import pytest

from phinas.experiment.artifacts.baseline_file import ExcludedReference
from phinas.experiment.artifacts.validation_file import TestResult
from phinas.experiment.statistics.paired_comparison import format_probability
from phinas.nas.reward import Reward
from phinas.nas.selection.rediscovery import MeasuredReference
from phinas.reports.csv_export import make_finalists_dataframe
from phinas.reports.figure_export import report_style
from phinas.reports.figures import pareto
from phinas.reports.figures.axes import round_ticks
from phinas.reports.figures.pareto import solve_equal_reward
from phinas.reports.formatting import format_count, format_interval, format_percent, format_tick
from phinas.reports.named_network import read_named_network
from phinas.reports.network_diagram.columns import make_stage_columns
from phinas.reports.page import write_report
from phinas.reports.run_reader import read_run_data
from phinas.reports.sentences.conclusions import make_conclusion_paragraphs
from phinas.reports.sentences.family import compare_scores
from phinas.reports.tables.search import make_finalists_table
from phinas.space.presets import preset

SMALL = {"grid_phi": 1.0, "tolerance": 0.2, "divisor": 4, "max_grid_members": 4, "phi": [1.0, 2.0]}


def conclusions_text(builder):
    paragraphs = make_conclusion_paragraphs(read_run_data(builder.run))
    return " ".join(sentence for paragraph in paragraphs for sentence in paragraph)


def test_the_conclusions_name_baseline_coefficients_and_family(full_run):
    run_data = read_run_data(full_run.run)
    text = conclusions_text(full_run)
    assert run_data.baseline.network_id in text
    assert format_percent(run_data.selection.selected.mean_score) in text
    assert format_count(run_data.baseline.flops) in text
    assert f"beta\u00a0=\u00a0{full_run.coefficients.beta:.2f}" in text
    assert format_percent(run_data.tested_members[-1].result.score) in text


def test_ways_to_scale_that_differ_by_noise_are_tied(build):
    builder = build(scaling=SMALL).search(3).select_baseline().scale(gap=0.0, seeds=2)
    assert read_run_data(builder.run).race.outcome == "all_tied"
    text = conclusions_text(builder)
    assert "This data does not show whether more depth, width or resolution" in text
    race = read_run_data(builder.run).race
    assert f"grid-{race.winner_number} is it with a probability of" in text
    assert (
        "As much training again (31 trainings) would leave about 2 networks tied with the best "
        "one, and give one that is 0.04 points better on average. No number of trainings would "
        "give more than 0.21 points."
    ) in text
    assert "A comparison at a larger size (--grid-phi 2)" in text


def test_the_conclusions_say_what_the_coefficients_are_and_which_network_to_use(build):
    builder = build(scaling=SMALL).search(3).select_baseline().scale(gap=0.0, seeds=2)
    race = read_run_data(builder.run).race
    text = conclusions_text(builder)
    assert "with 50% of the published 1.2, 1.1, 1.15" in text
    name = f"grid-{race.winner_number}"
    assert f"At these FLOPs use {name} (RUN:{name} in commands)" in text
    assert read_named_network(builder.run, name).network_id == race.winner.network_id


def test_a_way_to_scale_that_is_much_better_is_significantly_better(build):
    """With every seed: a race stops training excluded networks, so others may stay open."""
    builder = (
        build(scaling=SMALL | {"max_budget_fraction": 1.0})
        .search(3)
        .select_baseline()
        .scale(gap=0.15)
    )
    assert read_run_data(builder.run).race.outcome == "best"
    assert "is better than all others (95%)" in conclusions_text(builder)
    assert "As much training again" not in conclusions_text(builder)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0.04, "a significant gain"), (0.0, "not a significant gain"), (-0.06, "a significant loss")],
)
def test_the_gain_of_the_family_is_judged_by_its_interval(build, step, expected):
    builder = (
        build(scaling=SMALL, validation={"max_flops_multiple": 50.0})
        .search(3)
        .select_baseline()
        .scale()
        .validate(step=step)
    )
    assert expected in conclusions_text(builder)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (
            (0.01, 0.05),
            "a significant gain, given test-set sampling error and training noise.",
        ),
        ((-0.01, 0.07), "not a significant gain with 359 test images and 2 trainings of each."),
        ((-0.07, -0.01), "a significant loss with these recipes."),
        (None, "not a significant gain with 359 test images."),
    ],
)
def test_the_gain_is_that_of_the_validation_or_else_that_of_independent_images(
    build, interval, expected
):
    builder = (
        build(scaling=SMALL, validation={"max_flops_multiple": 50.0})
        .search(3)
        .select_baseline()
        .scale()
        .validate(step=0.0, gain=interval and (0.0312, interval))
    )
    assert expected in conclusions_text(builder)
    assert ("3.1 points" in conclusions_text(builder)) == (interval is not None)


def test_another_metric_than_accuracy_has_no_interval_after_one_training_each(build):
    builder = (
        build(metric="macro_f1", scaling=SMALL, validation={"max_flops_multiple": 50.0})
        .search(3)
        .select_baseline()
        .scale()
        .validate(step=0.05, seeds=1)
    )
    assert "macro F1" in conclusions_text(builder)
    assert "One training each gives no interval of that difference." in conclusions_text(builder)


def test_the_interval_of_a_difference_is_newcombes():
    # Newcombe (1998), table II, example (a), method 10: 56/70 - 48/80 is 0.2000 (0.0524 to 0.3339).
    first, second = result_of(48, 80), result_of(56, 70)
    low, high = compare_scores(first, second)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def result_of(correct, images):
    return TestResult(
        scores=(correct / images,),
        score=correct / images,
        interval=(0.0, 1.0),
        images=images,
        train_seconds=0.0,
        failure_reason="",
    )


@pytest.mark.parametrize(
    ("kind", "exponent"),
    [("soft", -0.07), ("hard", -1.0), ("absolute", -0.07), ("accuracy", 0.0)],
)
def test_the_curve_of_equal_reward_has_equal_reward(kind, exponent):
    reward = Reward(kind, exponent, 1e6)
    flops = np.geomspace(1e5, 1e7, 9)
    for score, cost in zip(solve_equal_reward(reward, 0.5, flops), flops, strict=True):
        assert math.isclose(reward(score, cost), 0.5)


def test_before_a_baseline_the_reward_is_that_of_the_record(build):
    soft, absolute = (
        build("soft").search(2),
        build("absolute", search={"reward": "absolute"}).search(2),
    )
    assert read_run_data(soft.run).reward == soft.reward()
    assert read_run_data(absolute.run).reward == absolute.reward()
    assert read_run_data(build("bare").run).reward is None


def test_the_drawn_network_has_all_stages_and_all_flops():
    columns = make_stage_columns(preset("efficientnet_b0"))
    assert [column.name for column in columns] == [
        "stem",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "head",
    ]
    assert [column.resolution for column in columns] == [112, 112, 56, 28, 14, 14, 7, 7, 7]
    assert math.isclose(sum(column.flops_fraction for column in columns), 1)


def test_ticks_are_round_and_enough_on_any_range():
    for low in np.geomspace(1e4, 1e10, 50):
        for ratio in (1.15, 1.5, 3, 20, 1e4):
            ticks = round_ticks(low, low * ratio, min_count=3)
            assert 2 <= len(ticks) <= 12
            assert all(low <= value <= low * ratio for value in ticks)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (512, "512"),
        (999.6, "1.00k"),
        (318_656, "319k"),
        (2_271_168, "2.27M"),
        (999_900, "1.00M"),
        (37.75e9, "37.8G"),
    ],
)
def test_counts_have_three_digits(count, expected):
    assert format_count(count) == expected


def test_ticks_and_intervals_have_no_trailing_zeros():
    assert [format_tick(value) for value in (200_000, 1_500_000, 1e9)] == ["200k", "1.5M", "1G"]
    assert format_interval(1.0, 1.0) == "1.00"
    assert format_interval(1.5, 2.0) == "1.50\u20132.00"


def reference_result(name="efficientnet_b0", *, rewards=(0.5, 0.5), search_score=0.6):
    spec = preset("efficientnet_b0")
    return MeasuredReference(
        name, spec, [0.7, 0.71], list(rewards), search_score, search_score, None
    )


def test_the_probability_of_the_choice_is_in_the_conclusions(build):
    builder = build().search(6).select_baseline()
    chance = read_run_data(builder.run).selection.probability_of_best
    assert (
        f"The probability that it is the best finalist is {format_probability(chance)}."
        in conclusions_text(builder)
    )


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (
            reference_result(),
            "It reaches the reference network efficientnet_b0: trained in the same way",
        ),
        (
            reference_result(rewards=(2.0, 2.0)),
            "It does not reach the reference network efficientnet_b0",
        ),
        (
            reference_result(rewards=(-9.0, 9.0)),
            "It is not significantly different from the reference network efficientnet_b0",
        ),
        (
            ExcludedReference(name="efficientnet_b0", case="not_timed", reason="no clock"),
            "efficientnet_b0 was not trained for comparison: no clock.",
        ),
    ],
)
def test_the_conclusions_compare_the_baseline_with_the_reference(build, reference, expected):
    builder = build().search(6).select_baseline(reference=reference)
    assert expected in conclusions_text(builder)


def test_the_reference_is_in_the_table_of_finalists_and_in_the_figure(build):
    builder = build().search(6).select_baseline(reference=reference_result())
    run_data = read_run_data(builder.run)
    table = make_finalists_table(run_data)
    assert [row[-1].text for row in table.rows].count(
        "reference network: its reward is reached"
    ) == 1
    assert [row[1].text for row in table.rows].count("efficientnet_b0") == 1
    assert table.rows[table.highlighted_row][-1].text == "selected"
    table = make_finalists_dataframe(run_data)
    assert list(table.reference.dropna()) == ["efficientnet_b0"]
    assert len(table) == 4
    with report_style():
        report_figure = pareto.draw(run_data, compact=False)
    axes = report_figure.figure.axes[0]
    assert "efficientnet_b0" in {text.get_text() for text in axes.texts}
    assert axes.get_xlim()[1] > 385_814_752
    assert "Square: efficientnet_b0, a published network" in report_figure.caption


def test_a_reference_whose_short_training_failed_is_not_in_the_figure(build):
    builder = build().search(6).select_baseline(reference=reference_result(search_score=None))
    run_data = read_run_data(builder.run)
    assert make_finalists_table(run_data).rows[-1][3].text == "\N{EN DASH}"
    with report_style():
        assert "Square" not in pareto.draw(run_data, compact=False).caption
    write_report(builder.run)
