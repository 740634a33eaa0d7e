"""What a report says of a search whose cost is not FLOPs, whose weight was estimated, or that was
after a front.
"""

import pandas as pd
import pytest

from phinas.nas.pareto import pareto_front
from phinas.reports.figure_export import styled
from phinas.reports.figures import pareto, progress
from phinas.reports.formatting import amount
from phinas.reports.page import render, write_report
from phinas.reports.run_data import read_records
from phinas.reports.tables.search import show_finalists, show_trials
from phinas.reports.verdict import verdict

RUN = {"run": {"workers": 1}}


def caption(figure, built):
    with styled():
        return figure.draw(read_records(built.run), narrow=False).caption


def page(built):
    return " ".join(render(read_records(built.run), {}).split())


def test_a_search_over_latency_shows_milliseconds_everywhere(build):
    built = build(search={"cost": "latency"}, **RUN).search(6).choose()
    records = read_records(built.run)
    assert " at 1.00 ms" in caption(progress, built) or " ms)" in caption(progress, built)
    assert "the same latency or less" in caption(pareto, built)
    assert "(latency/T)^w" in caption(pareto, built)
    assert f"{records.baseline['latency_ms']:.3g} ms an inference" in " ".join(verdict(records))
    for exhibit in (show_trials(records), show_finalists(records)):
        assert ("latency, ms", True) in exhibit.columns
        assert all(len(row) == len(exhibit.columns) for row in exhibit.rows)
    text = page(built)
    assert "median of at least 40 undisturbed inferences of each network" in text
    assert "on a chip, 1 thread" in text
    assert "Other trainings ran beside it" not in text
    write_report(built.run)
    table = pd.read_csv(built.run.report / "trials.csv")
    assert list(table.latency_ms) == [trial.latency_ms for trial in records.trials]
    assert (table.latency_ms_quartile_1 < table.latency_ms).all()


def test_latencies_measured_beside_other_trainings_are_said_to_be(build):
    built = build(search={"cost": "latency"}, run={"workers": 2}).search(2)
    from phinas.experiment.manifest import add_to_manifest

    add_to_manifest(built.run, workers=2)
    assert "Other trainings ran beside it" in page(built)


def test_the_front_is_over_the_cost_of_the_search(build):
    built = build(search={"cost": "latency"}).search(8)
    records = read_records(built.run)
    assert records.front == pareto_front(records.trials, "latency")


def test_a_search_over_activations_has_them_in_its_table(build):
    records = read_records(build(search={"cost": "activations"}).search(3).run)
    shown = show_trials(records)
    place = shown.columns.index(("activations", True))
    assert {row[place].text for row in shown.rows} == {
        str(trial.cost.activations) for trial in records.trials
    }


def test_an_estimated_weight_is_explained(build):
    built = build(search={"weight": "auto"}).search(5).choose()
    assert "accuracy grew as cost^0.031 (95%: 0.012 to 0.050)" in page(built)
    assert "The first 24 were drawn at random, to estimate the weight of the reward." in caption(
        progress, built
    )
    assert "w = \N{MINUS SIGN}0.031" in caption(pareto, built)


def test_trials_that_wait_for_their_weight_are_told(build):
    built = build(search={"weight": "auto"}).search(0, held=5)
    records = read_records(built.run)
    assert verdict(records) == [
        "5 networks measured so far, from which the weight of the reward will be estimated."
    ]
    assert records.unfinished == 0
    assert records.reward is None
    write_report(built.run)


@pytest.mark.parametrize(("reward", "told"), [("soft", True), ("absolute", False)])
def test_a_target_under_soft_is_said_to_change_nothing(build, reward, told):
    text = page(build(search={"reward": reward, "target": 3e5}).search(2))
    assert (
        "search.target is 300000, but under the soft reward the target multiplies all rewards alike"
        in text
    ) == told


def test_a_front_is_reported_with_its_hypervolume_over_the_trials(build):
    built = build(search={"reward": "pareto", "strategy": "evolution"}).search(10).choose()
    records = read_records(built.run)
    volume = f"{pareto.covered(records):.4f}"
    assert f"Its hypervolume is {volume}" in caption(pareto, built)
    assert caption(progress, built).startswith(
        f"Hypervolume of the front over the trials: {volume} after 10 measured trials"
    )
    assert "from the Pareto front of" in page(built)
    reward = records.reward
    assert all(trial.reward == reward(trial.accuracy, trial.cost.flops) for trial in records.trials)
    write_report(built.run)


def test_before_the_choice_a_front_is_told_as_it_is(build):
    built = build(search={"reward": "pareto"}).search(6, held=1)
    records = read_records(built.run)
    assert records.reward is None
    assert f"of which {len(records.front)} are on the Pareto front" in verdict(records)[0]
    assert {row[-2].text for row in show_trials(records).rows} == {"\N{EN DASH}"}
    assert "Along the dashed curve" not in caption(pareto, built)


@pytest.mark.parametrize(
    ("metric", "cost", "shown"),
    [
        ("flops", 2.27e6, "2.27M FLOPs"),
        ("params", 5_288_548, "5.29M parameters"),
        ("latency", 0.83123, "0.831 ms"),
    ],
)
def test_an_amount_has_its_unit(metric, cost, shown):
    assert amount(metric, cost) == shown
