"""The CSV files: one row a trial, finalist, grid member or family member, unrounded."""

import math

import pandas as pd
import pytest

from phinas.reports.csv_export import TABLES, trials_table
from phinas.reports.run_data import read_records
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml


@pytest.fixture(scope="module")
def records(whole):
    return read_records(whole.run)


def read(whole, name):
    return pd.read_csv(whole.run.report / f"{name}.csv")


def test_a_trial_is_a_row_whether_it_was_measured_failed_or_runs(whole, records):
    table = read(whole, "trials")
    assert table.state.value_counts().to_dict() == {"complete": 11, "fail": 1, "running": 1}
    assert list(table.trial) == [row.number for row in records.rows["search"]]
    assert table[table.state == "fail"].reason.item() == "the loss became NaN"


def test_a_pruned_trial_is_a_row_with_its_reason_and_what_it_cost_and_no_reward(build):
    table = trials_table(read_records(build().search(4, pruned=(2,)).run)).set_index("trial")
    row = table.loc[2]
    assert (row.state, row.accuracy, row.epochs, row.train_seconds) == ("pruned", 0.3, 2, 5.0)
    assert row.reason == "pruned by median after 2 of 6 epochs at 30.0%"
    assert row.reward is None or row.reward != row.reward
    assert not row.on_front


def test_accuracies_are_unrounded_fractions(whole, records):
    table = read(whole, "trials").set_index("trial")
    for trial in records.trials:
        assert table.accuracy[trial.number] == trial.accuracy
        assert table.reward[trial.number] == trial.reward


def test_the_front_and_the_baseline_are_marked(whole, records):
    table = read(whole, "trials")
    assert set(table[table.on_front].trial) == {trial.number for trial in records.front}
    assert list(table[table.baseline].trial) == [records.chosen]


def test_choices_are_columns(whole):
    assert list(read(whole, "trials")["choice.stages.1.width"][:2]) == [24, 32]


def test_finalists_and_grid_members_are_those_of_the_files(whole):
    baseline, coefficients = read_yaml(whole.run.baseline), read_yaml(whole.run.coefficients)
    assert list(read(whole, "finalists").spec_id) == [
        row["spec_id"] for row in baseline["finalists"]
    ]
    assert list(read(whole, "grid").spec_id) == [row["spec_id"] for row in coefficients["members"]]
    assert read(whole, "grid").winner.sum() == 1


def test_the_family_has_every_member_and_an_accuracy_only_where_it_was_trained(whole):
    table = read(whole, "family")
    assert list(table.name) == ["b0", "b1", "b2", "b3"]
    assert list(table.accuracy.notna()) == list(table.validated)
    for row in table.itertuples():
        member = read_yaml(whole.run.family / f"{row.name}.yaml")
        assert row.flops == member["flops"]
        assert row.depths == " ".join(
            str(stage.depth) for stage in ArchSpec.from_dict(member["spec"]).stages
        )
        assert math.isclose(row.width_factor, whole.found.beta**row.phi)


def test_an_accuracy_of_another_family_is_not_shown_for_this_one(build):
    built = (
        build(scaling={"tolerance": 0.2, "divisor": 4, "members": 3, "phi": [1.0]})
        .search(4)
        .choose()
        .scale()
        .validate()
    )
    path = built.run.validation
    path.write_text(path.read_text().replace(built.family[1].spec.spec_id, "0123456789ab"))
    first, second = read_records(built.run).members
    assert first["validated"]
    assert "accuracy" not in second


def test_tables_without_rows_have_their_heads(build):
    records = read_records(build().run)
    for name, table in TABLES.items():
        found = table(records)
        assert len(found) == 0
        assert "flops" in found.columns, name
