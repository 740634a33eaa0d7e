"""The words: they say what the numbers say, and no more."""

import math

import numpy as np
import pytest

from phinas.experiment.run_dir import write_atomic
from phinas.experiment.statistics.paired_comparison import format_probability
from phinas.nas.reward import Reward
from phinas.nas.selection.reference_network import MeasuredReference, ReferenceNetwork
from phinas.reports.conclusions import compare_accuracies, list_conclusions, summarize_wins
from phinas.reports.csv_export import make_finalists_dataframe
from phinas.reports.figure_export import report_style
from phinas.reports.figures import pareto
from phinas.reports.figures.axes import round_ticks
from phinas.reports.figures.pareto import solve_equal_reward
from phinas.reports.formatting import format_count, format_interval, format_percent, format_tick
from phinas.reports.network_diagram.columns import make_stage_columns
from phinas.reports.page import write_report
from phinas.reports.run_data import read_run_data
from phinas.reports.tables.search import make_finalists_table
from phinas.space.presets import preset
from phinas.space.yaml_io import dump_yaml, read_yaml

SMALL = {"tolerance": 0.2, "divisor": 4, "max_grid_members": 4, "phi": [1.0, 2.0]}


def conclusions_text(builder):
    return " ".join(list_conclusions(read_run_data(builder.run)))


def test_a_verdict_names_baseline_coefficients_and_family(full_run):
    run_data = read_run_data(full_run.run)
    text = " ".join(list_conclusions(run_data))
    accuracies = run_data.chosen_finalist["accuracies"]
    assert run_data.baseline["spec_id"] in text
    assert format_percent(sum(accuracies) / len(accuracies)) in text
    assert format_count(run_data.baseline["flops"]) in text
    assert f"beta\u00a0=\u00a0{full_run.coefficients.beta:.2f}" in text
    assert format_percent(run_data.validated_members[-1]["accuracy"]) in text


def test_ways_to_scale_that_differ_by_noise_are_said_to_be_alike(build):
    builder = build(scaling=SMALL).search(3).select_baseline().scale(gap=0.0)
    assert summarize_wins(read_run_data(builder.run).coefficients) == "none"
    assert "these data do not say whether depth, width or resolution" in conclusions_text(builder)


def test_a_way_to_scale_that_wins_clearly_is_said_to(build):
    """With every seed: a race stops training what is excluded, so it may end with networks that are
    open.
    """
    builder = (
        build(scaling=SMALL | {"max_budget_fraction": 1.0})
        .search(3)
        .select_baseline()
        .scale(gap=0.15)
    )
    assert summarize_wins(read_run_data(builder.run).coefficients) == "all"
    assert "beats all others beyond the noise" in conclusions_text(builder)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0.04, "scaling helps"), (0.0, "can't be told from none"), (-0.06, "scaling hurts")],
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
            [0.01, 0.05],
            "so scaling helps beyond what the 359 test images and the luck of training leave open",
        ),
        (
            [-0.01, 0.07],
            "with 359 test images and 2 trainings of each that gain can't be told from none",
        ),
        ([-0.07, -0.01], "so scaling hurts here"),
        (None, "that gain can't be told from none"),
    ],
)
def test_the_gain_that_the_validation_told_is_taken_and_else_that_of_independent_images(
    build, interval, expected
):
    builder = (
        build(scaling=SMALL, validation={"max_flops_multiple": 50.0})
        .search(3)
        .select_baseline()
        .scale()
        .validate(step=0.0)
    )
    validation = read_yaml(builder.run.validation)
    last = read_run_data(builder.run).validated_members[-1]["name"]
    gain = {"member": last, "baseline": "b0", "gain": 0.0312, "interval": interval}
    write_atomic(
        builder.run.validation, dump_yaml(validation | {"gain": gain if interval else None})
    )
    assert expected in conclusions_text(builder)
    assert ("3.1 points" in conclusions_text(builder)) == (interval is not None)


def test_a_validation_from_before_gains_were_told_has_none(build):
    builder = build(scaling=SMALL).search(3).select_baseline().scale().validate()
    assert "gain" not in read_yaml(builder.run.validation)
    assert read_run_data(builder.run).gain is None


def test_the_interval_of_a_difference_is_newcombes():
    # Newcombe (1998), table II, example (a), method 10: 56/70 - 48/80 is 0.2000 (0.0524 to 0.3339).
    first, second = {"accuracy": 48 / 80, "images": 80}, {"accuracy": 56 / 70, "images": 70}
    gain, low, high = compare_accuracies(first, second)
    assert (round(gain, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


@pytest.mark.parametrize(
    ("kind", "exponent"), [("soft", -0.07), ("hard", -1.0), ("absolute", -0.07)]
)
def test_the_curve_of_equal_reward_has_equal_reward(kind, exponent):
    reward = Reward(kind, exponent, 1e6)
    flops = np.geomspace(1e5, 1e7, 9)
    for accuracy, cost in zip(solve_equal_reward(reward, 0.5, flops), flops, strict=True):
        assert math.isclose(reward(accuracy, cost), 0.5)


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
def test_quantities_have_three_digits(count, expected):
    assert format_count(count) == expected


def test_ticks_and_spans_have_no_idle_digits():
    assert [format_tick(value) for value in (200_000, 1_500_000, 1e9)] == ["200k", "1.5M", "1G"]
    assert format_interval(1.0, 1.0) == "1.00"
    assert format_interval(1.5, 2.0) == "1.50\u20132.00"


def reference_result(name="efficientnet_b0", *, rewards=(0.5, 0.5), search_accuracy=0.6):
    spec = preset("efficientnet_b0")
    return MeasuredReference(
        name, spec, [0.7, 0.71], list(rewards), search_accuracy, search_accuracy, None
    )


def test_the_probability_of_the_choice_is_in_the_verdict(build):
    builder = build().search(6).select_baseline()
    chance = read_run_data(builder.run).baseline["probability_of_best"]
    assert (
        f"The probability that it is the best of them is {format_probability(chance)}."
        in conclusions_text(builder)
    )


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (
            reference_result(),
            "It rediscovers efficientnet_b0: under the same proxy its reward is at least as high",
        ),
        (reference_result(rewards=(2.0, 2.0)), "It does not reach efficientnet_b0"),
        (
            reference_result(rewards=(-9.0, 9.0)),
            "Whether it rediscovers efficientnet_b0 can't be told",
        ),
        (
            ReferenceNetwork("efficientnet_b0", None, "it is too dear"),
            "efficientnet_b0 was not trained beside it: it is too dear.",
        ),
    ],
)
def test_the_verdict_says_whether_the_reference_is_reached(build, reference, expected):
    builder = build().search(6).select_baseline(reference=reference)
    assert expected in conclusions_text(builder)


def test_the_reference_stands_among_the_finalists_and_in_the_figure(build):
    builder = build().search(6).select_baseline(reference=reference_result())
    run_data = read_run_data(builder.run)
    table = make_finalists_table(run_data)
    assert [row[-1].text for row in table.rows].count("reference: reached") == 1
    assert [row[1].text for row in table.rows].count("efficientnet_b0") == 1
    assert table.rows[table.highlighted_row][-1].text == "chosen"
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
    builder = build().search(6).select_baseline(reference=reference_result(search_accuracy=None))
    run_data = read_run_data(builder.run)
    assert make_finalists_table(run_data).rows[-1][3].text == "\N{EN DASH}"
    with report_style():
        assert "Square" not in pareto.draw(run_data, compact=False).caption
    write_report(builder.run)


def test_a_baseline_that_was_chosen_before_there_were_references_is_still_told(build):
    builder = build().search(6).select_baseline()
    baseline = read_yaml(builder.run.baseline)
    for name in ("reference", "probability_of_best"):
        del baseline[name]
    write_atomic(builder.run.baseline, dump_yaml(baseline))
    assert "probability" not in conclusions_text(builder)
    write_report(builder.run)
