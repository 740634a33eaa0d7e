"""Tests of the networks of a run by name."""

import pytest

from phinas.experiment.errors import InputError
from phinas.network_source import load_network
from phinas.reports.measured_networks import measured_networks
from phinas.reports.named_network import list_named_networks, read_named_network
from phinas.reports.run_reader import read_run_data

SCALING = {"tolerance": 0.2, "divisor": 4, "max_grid_members": 5, "phi": [1.0, 2.0, 3.0]}


@pytest.fixture
def run(full_run):
    return full_run.run


def refuse(run, name):
    with pytest.raises(InputError) as caught:
        load_network(f"{run.path}:{name}")
    return str(caught.value)


def test_measured_networks_are_read_by_their_names(run):
    networks = measured_networks(read_run_data(run))
    assert {network.kind for network in networks} == {"test", "finalists", "grid", "search"}
    for network in networks:
        assert read_named_network(run, network.name) == network.spec
    assert load_network(f"{run.path}:baseline") == read_run_data(run).baseline_spec


def test_measured_networks_are_listed(run):
    names, trials = list_named_networks(run)
    assert {network.name for network in measured_networks(read_run_data(run))} <= {*names, *trials}
    assert all(read_named_network(run, name) is not None for name in trials)


def test_members_that_were_not_trained_have_names_too(build):
    run = build(scaling=SCALING).search(6).select_baseline().scale().run
    assert {"b0", "b3", "baseline"} <= set(list_named_networks(run)[0])
    assert read_named_network(run, "b3") is not None


def test_trials_without_a_result_have_names_too(build):
    run = build().search(6, failed=[2], pruned=[3], running=1).run
    names, trials = list_named_networks(run)
    assert names == []
    assert all(read_named_network(run, name) is not None for name in trials)


@pytest.mark.parametrize(
    "name", ["b99", "b1.yaml", "../b1", "trial-99", "trial-", "trial-01", "grid-0", "finalist-99"]
)
def test_other_names_are_those_of_no_network(run, name):
    assert read_named_network(run, name) is None


def test_run_without_files_has_no_network(build):
    run = build().run
    for name in ("baseline", "b0", "control-depth", "trial-0", "finalist-0", "grid-1"):
        assert read_named_network(run, name) is None
    assert "has no network 'b0'; it has no network yet" in refuse(run, "b0")


def test_unknown_name_is_refused_with_a_similar_one_and_the_others(run):
    message = refuse(run, "b11")
    assert "has no network 'b11'; did you mean 'b1'? Its networks are baseline, b0, " in message
    _, trials = list_named_networks(run)
    assert message.endswith(f"and {len(trials)} trials ({trials[0]} to {trials[-1]})")


def test_unknown_trial_is_refused_with_the_number_of_trials(run):
    message = refuse(run, "trial-5000")
    assert "did you mean" not in message
    assert " trials (trial-0 to trial-" in message


def test_name_that_is_empty_is_refused(run):
    assert f"{run.path}: has no name after the colon; its networks are" in refuse(run, "")


def test_networks_of_another_baseline_have_no_name(run, tmp_path):
    number = next(
        network.name for network in measured_networks(read_run_data(run)) if network.kind == "grid"
    )
    text = run.baseline.read_text()
    try:
        resolution = read_named_network(run, "baseline").resolution
        run.baseline.unlink()
        assert read_named_network(run, number) is None
        assert resolution > 0
    finally:
        run.baseline.write_text(text)
