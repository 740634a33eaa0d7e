"""What a report says of a search whose cost is not FLOPs, whose weight was estimated, or that was
after a front.
"""

import pandas as pd
import pytest

from phinas.nas.pareto import pareto_front
from phinas.reports.conclusions import list_conclusions
from phinas.reports.figure_export import report_style
from phinas.reports.figures import pareto, progress
from phinas.reports.formatting import format_cost
from phinas.reports.page import render_page, write_report
from phinas.reports.run_data import read_run_data
from phinas.reports.tables.search import make_finalists_table, make_trials_table

RUN = {"run": {"workers": 1}}


def caption(figure, builder):
    with report_style():
        return figure.draw(read_run_data(builder.run), compact=False).caption


def page(builder):
    return " ".join(render_page(read_run_data(builder.run), {}).split())


def test_a_search_over_latency_shows_milliseconds_everywhere(build):
    builder = build(search={"cost": "latency"}, **RUN).search(6).select_baseline()
    run_data = read_run_data(builder.run)
    assert " at 1.00 ms" in caption(progress, builder) or " ms)" in caption(progress, builder)
    assert "the same latency or less" in caption(pareto, builder)
    assert "(latency/T)^w" in caption(pareto, builder)
    assert f"{run_data.baseline['latency_ms']:.3g} ms an inference" in " ".join(
        list_conclusions(run_data)
    )
    for table in (make_trials_table(run_data), make_finalists_table(run_data)):
        assert ("latency, ms", True) in table.columns
        assert all(len(row) == len(table.columns) for row in table.rows)
    text = page(builder)
    assert "median of at least 40 undisturbed inferences of each network" in text
    assert "on a chip, 1 thread" in text
    assert "Other trainings ran beside it" not in text
    write_report(builder.run)
    table = pd.read_csv(builder.run.report / "trials.csv")
    assert list(table.latency_ms) == [trial.latency_ms for trial in run_data.trials]
    assert (table.latency_ms_quartile_1 < table.latency_ms).all()


def test_latencies_measured_beside_other_trainings_are_said_to_be(build):
    builder = build(search={"cost": "latency"}, run={"workers": 2}).search(2)
    from phinas.experiment.manifest import update_manifest

    update_manifest(builder.run, workers=2)
    assert "Other trainings ran beside it" in page(builder)


def test_the_front_is_over_the_cost_of_the_search(build):
    builder = build(search={"cost": "latency"}).search(8)
    run_data = read_run_data(builder.run)
    assert run_data.pareto_front == pareto_front(run_data.trials, "latency")


def test_a_search_over_activations_has_them_in_its_table(build):
    run_data = read_run_data(build(search={"cost": "activations"}).search(3).run)
    table = make_trials_table(run_data)
    index = table.columns.index(("activations", True))
    assert {row[index].text for row in table.rows} == {
        str(trial.cost.activations) for trial in run_data.trials
    }


def test_an_estimated_weight_is_explained(build):
    builder = build(search={"reward_exponent": "auto"}).search(5).select_baseline()
    assert "accuracy grew as cost^0.031 (95%: 0.012 to 0.050)" in page(builder)
    assert "The first 24 were drawn at random, to estimate the weight of the reward." in caption(
        progress, builder
    )
    assert "w = \N{MINUS SIGN}0.031" in caption(pareto, builder)


def test_trials_that_wait_for_their_weight_are_told(build):
    builder = build(search={"reward_exponent": "auto"}).search(0, awaiting_reward=5)
    run_data = read_run_data(builder.run)
    assert list_conclusions(run_data) == [
        "5 networks measured so far, from which the weight of the reward will be estimated."
    ]
    assert run_data.num_unfinished == 0
    assert run_data.reward is None
    write_report(builder.run)


@pytest.mark.parametrize(("reward", "expected"), [("soft", True), ("absolute", False)])
def test_a_target_under_soft_is_said_to_change_nothing(build, reward, expected):
    text = page(build(search={"reward": reward, "target_cost": 3e5}).search(2))
    assert (
        "search.target_cost is 300000, but under the soft reward the target multiplies all "
        "rewards alike" in text
    ) == expected


def test_a_front_is_reported_with_its_hypervolume_over_the_trials(build):
    builder = (
        build(search={"reward": "pareto", "strategy": "evolution"}).search(10).select_baseline()
    )
    run_data = read_run_data(builder.run)
    volume = f"{pareto.compute_front_hypervolume(run_data):.4f}"
    assert f"Its hypervolume is {volume}" in caption(pareto, builder)
    assert caption(progress, builder).startswith(
        f"Hypervolume of the front over the trials: {volume} after 10 measured trials"
    )
    assert "from the Pareto front of" in page(builder)
    reward = run_data.reward
    assert all(
        trial.reward == reward(trial.accuracy, trial.cost.flops) for trial in run_data.trials
    )
    write_report(builder.run)


def test_before_the_choice_a_front_is_told_as_it_is(build):
    builder = build(search={"reward": "pareto"}).search(6, awaiting_reward=1)
    run_data = read_run_data(builder.run)
    assert run_data.reward is None
    assert (
        f"of which {len(run_data.pareto_front)} are on the Pareto front"
        in list_conclusions(run_data)[0]
    )
    assert {row[-2].text for row in make_trials_table(run_data).rows} == {"\N{EN DASH}"}
    assert "Along the dashed curve" not in caption(pareto, builder)


@pytest.mark.parametrize(
    ("metric", "cost", "expected"),
    [
        ("flops", 2.27e6, "2.27M FLOPs"),
        ("params", 5_288_548, "5.29M parameters"),
        ("latency", 0.83123, "0.831 ms"),
    ],
)
def test_an_amount_has_its_unit(metric, cost, expected):
    assert format_cost(metric, cost) == expected
