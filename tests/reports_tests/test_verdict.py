"""The words: they say what the numbers say, and no more."""

import math

import numpy as np
import pytest

from phinas.experiment.run_dir import write_atomic
from phinas.experiment.statistics.paired_comparison import shown_chance
from phinas.nas.reward import Reward
from phinas.nas.selection.reference_network import Measured, Reference
from phinas.reports.csv_export import finalists_table
from phinas.reports.figure_export import styled
from phinas.reports.figures import pareto
from phinas.reports.figures.axes import round_ticks
from phinas.reports.figures.pareto import equal_reward
from phinas.reports.formatting import percent, quantity, span, tick
from phinas.reports.network_diagram.columns import columns_of
from phinas.reports.page import write_report
from phinas.reports.run_data import read_records
from phinas.reports.tables.search import show_finalists
from phinas.reports.verdict import difference, told_apart, verdict
from phinas.space.presets import preset
from phinas.space.yaml_io import dump_yaml, read_yaml

SMALL = {"tolerance": 0.2, "divisor": 4, "members": 4, "phi": [1.0, 2.0]}


def words(built):
    return " ".join(verdict(read_records(built.run)))


def test_a_verdict_names_baseline_coefficients_and_family(whole):
    records = read_records(whole.run)
    text = " ".join(verdict(records))
    accuracies = records.chosen_finalist["accuracies"]
    assert records.baseline["spec_id"] in text
    assert percent(sum(accuracies) / len(accuracies)) in text
    assert quantity(records.baseline["flops"]) in text
    assert f"beta\u00a0=\u00a0{whole.found.beta:.2f}" in text
    assert percent(records.validated[-1]["accuracy"]) in text


def test_ways_to_scale_that_differ_by_noise_are_said_to_be_alike(build):
    built = build(scaling=SMALL).search(3).choose().scale(gap=0.0)
    assert told_apart(read_records(built.run).coefficients) == "none"
    assert "these data do not say whether depth, width or resolution" in words(built)


def test_a_way_to_scale_that_wins_clearly_is_said_to(build):
    """With every seed: a race stops training what is excluded, so it may end with networks that are
    open.
    """
    built = build(scaling=SMALL | {"share": 1.0}).search(3).choose().scale(gap=0.15)
    assert told_apart(read_records(built.run).coefficients) == "all"
    assert "beats all others beyond the noise" in words(built)


@pytest.mark.parametrize(
    ("step", "told"),
    [(0.04, "scaling helps"), (0.0, "can't be told from none"), (-0.06, "scaling hurts")],
)
def test_the_gain_of_the_family_is_judged_by_its_interval(build, step, told):
    built = (
        build(scaling=SMALL, validation={"largest_multiple": 50.0})
        .search(3)
        .choose()
        .scale()
        .validate(step=step)
    )
    assert told in words(built)


@pytest.mark.parametrize(
    ("interval", "told"),
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
    build, interval, told
):
    built = (
        build(scaling=SMALL, validation={"largest_multiple": 50.0})
        .search(3)
        .choose()
        .scale()
        .validate(step=0.0)
    )
    facts = read_yaml(built.run.validation)
    last = read_records(built.run).validated[-1]["name"]
    gain = {"member": last, "over": "b0", "gain": 0.0312, "interval": interval}
    write_atomic(built.run.validation, dump_yaml(facts | {"gain": gain if interval else None}))
    assert told in words(built)
    assert ("3.1 points" in words(built)) == (interval is not None)


def test_a_validation_from_before_gains_were_told_has_none(build):
    built = build(scaling=SMALL).search(3).choose().scale().validate()
    assert "gain" not in read_yaml(built.run.validation)
    assert read_records(built.run).gain is None


def test_the_interval_of_a_difference_is_newcombes():
    # Newcombe (1998), table II, example (a), method 10: 56/70 - 48/80 is 0.2000 (0.0524 to 0.3339).
    first, second = {"accuracy": 48 / 80, "images": 80}, {"accuracy": 56 / 70, "images": 70}
    gain, low, high = difference(first, second)
    assert (round(gain, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


@pytest.mark.parametrize(("kind", "weight"), [("soft", -0.07), ("hard", -1.0), ("absolute", -0.07)])
def test_the_curve_of_equal_reward_has_equal_reward(kind, weight):
    reward = Reward(kind, weight, 1e6)
    flops = np.geomspace(1e5, 1e7, 9)
    for accuracy, cost in zip(equal_reward(reward, 0.5, flops), flops, strict=True):
        assert math.isclose(reward(accuracy, cost), 0.5)


def test_before_a_baseline_the_reward_is_that_of_the_record(build):
    soft, absolute = (
        build("soft").search(2),
        build("absolute", search={"reward": "absolute"}).search(2),
    )
    assert read_records(soft.run).reward == soft.reward()
    assert read_records(absolute.run).reward == absolute.reward()
    assert read_records(build("bare").run).reward is None


def test_the_drawn_network_has_all_stages_and_all_flops():
    columns = columns_of(preset("efficientnet_b0"))
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
    assert [column.side for column in columns] == [112, 112, 56, 28, 14, 14, 7, 7, 7]
    assert math.isclose(sum(column.share for column in columns), 1)


def test_ticks_are_round_and_enough_on_any_range():
    for low in np.geomspace(1e4, 1e10, 50):
        for ratio in (1.15, 1.5, 3, 20, 1e4):
            ticks = round_ticks(low, low * ratio, least=3)
            assert 2 <= len(ticks) <= 12
            assert all(low <= value <= low * ratio for value in ticks)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (512, "512"),
        (999.6, "1.00k"),
        (318_656, "319k"),
        (2_271_168, "2.27M"),
        (999_900, "1.00M"),
        (37.75e9, "37.8G"),
    ],
)
def test_quantities_have_three_digits(count, shown):
    assert quantity(count) == shown


def test_ticks_and_spans_have_no_idle_digits():
    assert [tick(value) for value in (200_000, 1_500_000, 1e9)] == ["200k", "1.5M", "1G"]
    assert span(1.0, 1.0) == "1.00"
    assert span(1.5, 2.0) == "1.50\u20132.00"


def measured(name="efficientnet_b0", *, rewards=(0.5, 0.5), search_accuracy=0.6):
    spec = preset("efficientnet_b0")
    return Measured(name, spec, [0.7, 0.71], list(rewards), search_accuracy, search_accuracy, None)


def test_the_probability_of_the_choice_is_in_the_verdict(build):
    built = build().search(6).choose()
    chance = read_records(built.run).baseline["chance_of_best"]
    assert f"The probability that it is the best of them is {shown_chance(chance)}." in words(built)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        (
            measured(),
            "It rediscovers efficientnet_b0: under the same proxy its reward is at least as high",
        ),
        (measured(rewards=(2.0, 2.0)), "It does not reach efficientnet_b0"),
        (measured(rewards=(-9.0, 9.0)), "Whether it rediscovers efficientnet_b0 can't be told"),
        (
            Reference("efficientnet_b0", None, "it is too dear"),
            "efficientnet_b0 was not trained beside it: it is too dear.",
        ),
    ],
)
def test_the_verdict_says_whether_the_reference_is_reached(build, reference, told):
    built = build().search(6).choose(reference=reference)
    assert told in words(built)


def test_the_reference_stands_among_the_finalists_and_in_the_figure(build):
    built = build().search(6).choose(reference=measured())
    records = read_records(built.run)
    shown = show_finalists(records)
    assert [row[-1].text for row in shown.rows].count("reference: reached") == 1
    assert [row[1].text for row in shown.rows].count("efficientnet_b0") == 1
    assert shown.rows[shown.marked][-1].text == "chosen"
    table = finalists_table(records)
    assert list(table.reference.dropna()) == ["efficientnet_b0"]
    assert len(table) == 4
    with styled():
        plate = pareto.draw(records, narrow=False)
    axes = plate.figure.axes[0]
    assert "efficientnet_b0" in {text.get_text() for text in axes.texts}
    assert axes.get_xlim()[1] > 385_814_752
    assert "Square: efficientnet_b0, a published network" in plate.caption


def test_a_reference_whose_short_training_failed_is_not_in_the_figure(build):
    built = build().search(6).choose(reference=measured(search_accuracy=None))
    records = read_records(built.run)
    assert show_finalists(records).rows[-1][3].text == "\N{EN DASH}"
    with styled():
        assert "Square" not in pareto.draw(records, narrow=False).caption
    write_report(built.run)


def test_a_baseline_that_was_chosen_before_there_were_references_is_still_told(build):
    built = build().search(6).choose()
    facts = read_yaml(built.run.baseline)
    for name in ("reference", "chance_of_best"):
        del facts[name]
    write_atomic(built.run.baseline, dump_yaml(facts))
    assert "probability" not in words(built)
    write_report(built.run)
