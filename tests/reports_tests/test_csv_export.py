"""The CSV files: a row for each trial, finalist, compared network, member or control, unrounded."""

import math

import pandas as pd
import pytest

from phinas.experiment.artifacts.baseline_file import BaselineFile
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.reports.csv_export import CSV_TABLES, make_trials_dataframe
from phinas.reports.page import _as_csv_text
from phinas.reports.run_reader import read_run_data


@pytest.fixture(scope="module")
def run_data(full_run):
    return read_run_data(full_run.run)


def read_csv_table(full_run, name):
    return pd.read_csv(full_run.run.report / f"{name}.csv")


def test_a_trial_is_a_row_whether_it_was_measured_failed_or_runs(full_run, run_data):
    table = read_csv_table(full_run, "trials")
    assert table.state.value_counts().to_dict() == {"complete": 11, "fail": 1, "running": 1}
    assert list(table.trial) == [row.number for row in run_data.trial_records["search"]]
    assert table[table.state == "fail"].reason.item() == "the loss became NaN"


def test_no_text_of_a_table_is_a_formula():
    table = pd.DataFrame({"reason": pd.array(["=1+1", None, "ok"], "string"), "gap": [-0.5, 1, 2]})
    assert _as_csv_text(table) == "reason,gap\n'=1+1,-0.5\n,1.0\nok,2.0\n"


def test_a_pruned_trial_is_a_row_with_its_reason_and_its_training_time_and_no_reward(build):
    table = make_trials_dataframe(read_run_data(build().search(4, pruned=(2,)).run)).set_index(
        "trial"
    )
    row = table.loc[2]
    assert (row.state, row.score, row.epochs, row.train_seconds) == ("pruned", 0.3, 2, 5.0)
    assert row.reason == "pruned by median after 2 of 6 epochs at 30.0%"
    assert row.reward is None or row.reward != row.reward
    assert not row.on_front


def test_scores_are_unrounded_fractions(full_run, run_data):
    table = read_csv_table(full_run, "trials").set_index("trial")
    for trial in run_data.trials:
        assert table.score[trial.number] == trial.score
        assert table.reward[trial.number] == trial.reward


def test_the_front_and_the_baseline_are_marked(full_run, run_data):
    table = read_csv_table(full_run, "trials")
    assert set(table[table.on_front].trial) == {trial.number for trial in run_data.pareto_front}
    assert list(table[table.baseline].trial) == [run_data.baseline_trial]


def test_choices_are_columns(full_run):
    assert list(read_csv_table(full_run, "trials")["choice.stages.1.width"][:2]) == [24, 32]


def test_finalists_and_grid_members_are_those_of_the_files(full_run):
    baseline = BaselineFile.read(full_run.run.baseline)
    coefficients = CoefficientsFile.read(full_run.run.coefficients)
    assert list(read_csv_table(full_run, "finalists").network_id) == [
        row.network_id for row in baseline.selection.finalists
    ]
    assert list(read_csv_table(full_run, "grid").network_id) == [
        row.network_id for row in coefficients.race.members
    ]
    assert read_csv_table(full_run, "grid").winner.sum() == 1


def test_the_family_has_every_member_and_a_score_only_where_it_was_trained(full_run):
    table = read_csv_table(full_run, "family")
    assert list(table.name) == ["b0", "b1", "b2", "b3"]
    assert list(table.score.notna()) == list(table.validated)
    for row in table.itertuples():
        member = FamilyMember.read(full_run.run.family / f"{row.name}.yaml")
        assert row.flops == member.flops
        assert row.depths == " ".join(str(stage.depth) for stage in member.spec.stages)
        assert math.isclose(row.width_factor, full_run.coefficients.beta**row.phi)


def test_a_score_of_another_family_is_not_shown_for_this_one(build):
    builder = (
        build(scaling={"tolerance": 0.2, "divisor": 4, "max_grid_members": 3, "phi": [1.0]})
        .search(4)
        .select_baseline()
        .scale()
        .validate()
    )
    path = builder.run.validation
    path.write_text(path.read_text().replace(builder.family[1].spec.network_id, "0123456789ab"))
    first, second = read_run_data(builder.run).members
    assert first.record.result is not None
    assert second.record is None


def test_tables_without_rows_have_their_headers(build):
    run_data = read_run_data(build().run)
    for name, make_dataframe in CSV_TABLES.items():
        table = make_dataframe(run_data)
        assert len(table) == 0
        assert "flops" in table.columns, name
