"""The report of a search whose cost is not FLOPs, whose exponent was estimated, or of a Pareto
front.
"""

import re
from contextlib import closing
from dataclasses import replace

import pandas as pd
import pytest

from phinas.experiment.artifacts.baseline_file import ExponentEstimate
from phinas.experiment.errors import StorageError
from phinas.experiment.storage.study_storage import open_storage
from phinas.nas.pareto import pareto_front
from phinas.reports.figure_export import report_style
from phinas.reports.figures import pareto, progress
from phinas.reports.formatting import format_cost
from phinas.reports.page import render_page, write_report
from phinas.reports.run_reader import read_run_data
from phinas.reports.sentences.baseline import describe_exponent
from phinas.reports.sentences.conclusions import make_conclusion_paragraphs
from phinas.reports.tables.search import make_finalists_table, make_trials_table

RUN = {"run": {"workers": 1}}


def list_conclusions(run_data):
    return [s for paragraph in make_conclusion_paragraphs(run_data) for s in paragraph]


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
    assert f"{run_data.baseline.latency_ms:.3g} ms per inference" in " ".join(
        list_conclusions(run_data)
    )
    for table in (make_trials_table(run_data), make_finalists_table(run_data)):
        assert ("latency, ms", True) in table.columns
        assert all(len(row) == len(table.columns) for row in table.rows)
    text = page(builder)
    assert "median of at least 40 undisturbed inferences of each network" in text
    assert "on a chip, 1 thread" in text
    assert "Other trainings ran at the same time" not in text
    write_report(builder.run)
    table = pd.read_csv(builder.run.report / "trials.csv")
    assert list(table.latency_ms) == [trial.latency_ms for trial in run_data.trials]
    assert (table.latency_ms_quartile_1 < table.latency_ms).all()


def test_latencies_measured_during_other_trainings_have_a_note(build):
    builder = build(search={"cost": "latency"}, run={"workers": 2}).search(2)
    from phinas.experiment.manifest import update_manifest

    update_manifest(builder.run, workers=2)
    assert "Other trainings ran at the same time" in page(builder)


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


def test_an_estimated_exponent_is_explained(build):
    builder = build(search={"reward_exponent": "auto"}).search(5).select_baseline()
    assert (
        "The reward exponent w = \N{MINUS SIGN}0.031 was estimated: the score rises as cost^0.031 "
        "along the best of 24 networks (95% CI 0.012 to 0.050)." in page(builder)
    )
    assert (
        "The first 24 trials were sampled at random, to estimate the exponent of the reward."
        in caption(progress, builder)
    )
    assert "w = \N{MINUS SIGN}0.031" in caption(pareto, builder)


FIT = {"num_networks": 24, "slope": 0.5, "interval": (0.4, 0.6)}
FLAT_FIT = {"num_networks": 24, "slope": 0.001, "interval": (-0.012, 0.014)}
NO_FIT = {"slope": None, "interval": None}


@pytest.mark.parametrize(
    ("estimate", "sentence"),
    [
        (
            {"value": -0.3, "case": "clipped"} | FIT,
            "The reward exponent w = -0.3 was estimated: the score rises as cost^0.500 along the "
            "best of 24 networks (95% CI 0.400 to 0.600). The estimate was clipped to the "
            "range -0.3 to -0.005.",
        ),
        (
            {"value": -0.02, "case": "not_significant"} | FLAT_FIT | {"interval": (-0.012, 0.034)},
            "The reward exponent w = -0.02 is a default: the score does not rise significantly "
            "with the cost (as cost^0.001 along the best of 24 networks (95% CI -0.012 to "
            "0.034)).",
        ),
        (
            {"value": -0.014, "case": "not_significant"} | FLAT_FIT,
            "The reward exponent w = -0.014 is limited by the interval of the slope: the score "
            "does not rise significantly with the cost (as cost^0.001 along the best of 24 "
            "networks (95% CI -0.012 to 0.014)).",
        ),
        (
            {"value": -0.02, "case": "too_few_networks", "num_networks": 7} | NO_FIT,
            "The reward exponent w = -0.02 is a default: 7 networks with a score above 0 cannot "
            "determine it, and 8 are needed.",
        ),
        (
            {"value": -0.02, "case": "equal_costs", "num_networks": 10} | NO_FIT,
            "The reward exponent w = -0.02 is a default: all 10 measured networks have the same "
            "cost.",
        ),
    ],
    ids=lambda value: value["case"] if isinstance(value, dict) else "",
)
def test_each_case_of_an_exponent_estimate_has_its_sentence(estimate, sentence):
    described = describe_exponent(ExponentEstimate(**estimate))
    assert described.replace("\N{MINUS SIGN}", "-") == sentence


def test_a_damaged_reward_attribute_is_a_storage_error_that_names_the_field(build):
    builder = build().search(2)
    with closing(open_storage(builder.run.study, url=None, new=False)) as storage:
        trial_store = storage.open_study("search")
        changed = trial_store.study_attrs["reward"] | {"cost_metric": "joules"}
        trial_store.set_study_attr("reward", changed)
    message = "study search: attribute reward: cost_metric: 'joules' is not one of 'flops', "
    with pytest.raises(StorageError, match=re.escape(message)):
        read_run_data(builder.run)


def test_trials_without_a_reward_are_counted(build):
    builder = build(search={"reward_exponent": "auto"}).search(0, awaiting_reward=5)
    run_data = read_run_data(builder.run)
    assert list_conclusions(run_data) == [
        "5 networks measured so far. The exponent of the reward will be estimated from them."
    ]
    assert run_data.num_unfinished == 0
    assert run_data.reward is None
    write_report(builder.run)


@pytest.mark.parametrize(("reward", "expected"), [("soft", True), ("absolute", False)])
def test_the_target_of_a_soft_reward_has_a_note_that_it_has_no_effect(build, reward, expected):
    text = page(build(search={"reward": reward, "target_cost": 3e5}).search(2))
    assert (
        "search.target_cost is 300000, but under the soft reward the target multiplies all "
        "rewards by the same factor" in text
    ) == expected


def test_the_caption_says_for_how_many_epochs_the_finalists_were_trained(build):
    run_data = read_run_data(build().search(6).select_baseline().run)
    records = {**run_data.trial_records, "finalists": run_data.trial_records["search"]}
    epochs = {record.measurement.epochs for record in records["finalists"]}
    with report_style():
        figure = pareto.draw(replace(run_data, trial_records=records), compact=False)
    assert f"All finalists were trained again for {max(epochs)} epochs, and the" in figure.caption
    assert "longer" not in figure.caption


def test_a_front_is_reported_with_its_hypervolume_over_the_trials(build):
    builder = (
        build(search={"reward": "pareto", "strategy": "evolution"}).search(10).select_baseline()
    )
    run_data = read_run_data(builder.run)
    volume = f"{pareto.compute_front_hypervolume(run_data):.4f}"
    assert f"Its hypervolume is {volume}" in caption(pareto, builder)
    assert caption(progress, builder).startswith(
        f"Hypervolume of the Pareto front after each trial: {volume} after 10 measured trials"
    )
    assert "selected from the Pareto front (" in page(builder)
    reward = run_data.reward
    assert all(trial.reward == reward(trial.score, trial.cost.flops) for trial in run_data.trials)
    write_report(builder.run)


def test_before_a_baseline_is_selected_the_front_is_described(build):
    builder = build(search={"reward": "pareto"}).search(6, awaiting_reward=1)
    run_data = read_run_data(builder.run)
    assert run_data.reward is None
    assert (
        f"{len(run_data.pareto_front)} of them are on the Pareto front"
        in list_conclusions(run_data)[0]
    )
    assert {row[-2].text for row in make_trials_table(run_data).rows} == {"\N{EN DASH}"}
    assert "Dashed:" not in caption(pareto, builder)


@pytest.mark.parametrize(
    ("cost_metric", "cost", "expected"),
    [
        ("flops", 2.27e6, "2.27M FLOPs"),
        ("params", 5_288_548, "5.29M parameters"),
        ("latency", 0.83123, "0.831 ms"),
    ],
)
def test_a_cost_has_its_unit(cost_metric, cost, expected):
    assert format_cost(cost_metric, cost) == expected
