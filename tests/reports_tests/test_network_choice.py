"""Tests of the index of measured networks, and of the choice under limits."""

import json

import pytest
from click.testing import CliRunner

import phinas
from phinas.api.choose import as_text
from phinas.cli import cli
from phinas.experiment.errors import InputError, NoResultError
from phinas.network_source import load_network
from phinas.reports.measured_networks import measured_networks, named_specs
from phinas.reports.network_choice import Limits, choose_network
from phinas.reports.run_reader import read_run_data

SCALING = {"tolerance": 0.2, "divisor": 4, "max_grid_members": 5, "phi": [1.0, 2.0, 3.0]}


@pytest.fixture
def run(full_run):
    """A finished run: trials, finalists, grid and family are measured."""
    return full_run.run


@pytest.fixture
def networks(run):
    return measured_networks(read_run_data(run))


def refuse_timing(_network):
    raise AssertionError("timed without a latency limit")


def choose(networks, get_latency_ms=refuse_timing, **limits):
    return choose_network(networks, Limits(**limits), get_latency_ms=get_latency_ms)


def test_every_kind_of_measured_network_has_a_name(networks):
    kinds = {network.kind for network in networks}
    assert kinds == {"test", "finalists", "grid", "search"}
    names = [network.name for network in networks]
    assert len(set(names)) == len(names)
    assert {"b0", "b1", "b2", "control-depth"} <= set(names)


def test_grid_networks_are_those_of_the_race(run, networks):
    race = read_run_data(run).race
    grid = {network.spec.network_id for network in networks if network.kind == "grid"}
    assert grid == {member.network_id for member in race.members if member.score is not None}


def test_costs_are_those_of_the_networks(networks):
    assert all(network.cost == network.spec.cost() for network in networks)


def test_best_member_of_the_family_is_chosen_without_limits(networks):
    tested = [network for network in networks if network.kind == "test"]
    choice = choose(networks)
    assert choice.best == max(tested, key=lambda network: network.score)
    assert choice.next_larger is None
    assert choice.next_smaller.score <= choice.best.score


def test_limit_excludes_larger_networks(networks):
    family = {network.name: network for network in networks if network.name[0] == "b"}
    choice = choose(list(family.values()), max_flops=family["b2"].cost.flops - 1)
    assert choice.best == family["b1"]
    assert choice.next_larger == family["b2"]
    assert choice.next_smaller == family["b0"]


@pytest.mark.parametrize("limit", ["max_params", "max_size_mb"])
def test_other_limits_hold(networks, limit):
    sizes = sorted(network.cost.params for network in networks if network.kind == "test")
    value = sizes[1] if limit == "max_params" else 4 * sizes[1] / 1e6
    choice = choose(networks, **{limit: value})
    assert choice.best.cost.params <= sizes[1]
    assert all(network.cost.params <= sizes[1] for network in choice.other_kinds)


def test_trials_are_chosen_from_where_the_family_is_too_large(networks):
    trials = [network for network in networks if network.kind == "search"]
    members = [network for network in networks if network.name in ("b1", "b2")]
    limit = members[0].cost.flops - 1
    choice = choose([*members, *trials], max_flops=limit)
    small_trials = [network for network in trials if network.cost.flops <= limit]
    assert choice.best == max(small_trials, key=lambda network: network.score)
    assert choice.other_kinds == ()


def test_other_kinds_of_measurement_are_listed(networks):
    choice = choose(networks)
    assert [network.kind for network in choice.other_kinds] == ["finalists", "grid", "search"]


def test_networks_are_timed_from_the_best_score_until_one_meets_the_limit(networks):
    timed = []

    def get_latency_ms(network):
        timed.append(network)
        return network.cost.flops / 1e6

    family = sorted(
        (network for network in networks if network.kind == "test"), key=lambda item: -item.score
    )
    limit = family[1].cost.flops / 1e6
    tested = [network for network in networks if network.kind == "test"]
    choice = choose(tested, get_latency_ms, max_latency_ms=limit)
    expected = next(item for item in family if item.cost.flops / 1e6 <= limit)
    assert choice.best == expected
    assert timed == family[: family.index(expected) + 1]


def test_limit_that_no_network_meets_names_the_smallest(networks):
    smallest = min(networks, key=lambda network: network.cost.flops)
    with pytest.raises(NoResultError, match=f"{smallest.name}, has"):
        choose(networks, max_flops=10)


def test_run_without_measurements_is_named(build):
    with pytest.raises(NoResultError, match="has not measured a network yet"):
        phinas.choose(build().run.path)


def test_network_of_a_run_is_loaded_by_name(run, networks):
    for network in networks:
        assert load_network(f"{run.path}:{network.name}") == network.spec
    assert load_network(f"{run.path}:baseline") == read_run_data(run).baseline_spec


def test_members_that_were_not_trained_have_names_too(build):
    run = build(scaling=SCALING).search(6).select_baseline().scale().run
    assert {"b0", "b3", "baseline"} <= set(named_specs(read_run_data(run)))


def test_unknown_network_of_a_run_is_named(run):
    with pytest.raises(InputError, match=r"has no network 'b11'; did you mean 'b1'\?"):
        load_network(f"{run.path}:b11")


def test_run_without_the_name_of_a_network_is_refused(run):
    with pytest.raises(InputError, match=r"is a run, .* name one, such as .*:baseline"):
        load_network(str(run.path))


@pytest.mark.parametrize("value", ["-1", 0, "many", float("inf")])
def test_limit_that_is_not_a_positive_number_is_refused(run, value):
    with pytest.raises(InputError, match="max_flops"):
        phinas.choose(run.path, max_flops=value)


def test_result_as_text_and_as_json(run):
    text = CliRunner().invoke(cli, ["choose", str(run.path)], catch_exceptions=False).output
    best = phinas.choose(run.path, quiet=True)
    assert f"{best.choice.best.name} is the best network" in text
    assert f"phinas fit {best.name}" in text
    result = CliRunner().invoke(cli, ["choose", str(run.path), "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["best"]["name"] == best.name


LATENCY_SEARCH = {"cost": "latency", "target_cost": 1.0}


def choose_by_latency(build, *, search=LATENCY_SEARCH, **options):
    run = build(search=search, run={"latency_runtime": "onnxruntime"}).search(4).run
    return phinas.choose(run.path, quiet=True, **options)


def test_latencies_of_the_run_are_those_of_its_runtime(build):
    result = choose_by_latency(build, max_latency_ms=1e6)
    assert result.runtime == "onnxruntime"
    assert result.latencies_ms[result.choice.best.name] == result.choice.best.latency_ms


def test_latencies_of_another_runtime_do_not_count(build):
    assert choose_by_latency(build, runtime="torch").latencies_ms == {}


def test_latencies_of_larger_batches_do_not_count(build):
    search = LATENCY_SEARCH | {"latency_batch_size": 8}
    assert choose_by_latency(build, search=search).latencies_ms == {}


def test_onnx_runtime_on_a_gpu_is_refused(run):
    with pytest.raises(InputError, match=r"^device: cuda is not available for runtime: onnxrun"):
        phinas.choose(run.path, max_latency_ms=5, runtime="onnxruntime", device="cuda", quiet=True)


def test_text_says_the_runtime_of_the_latencies(build):
    text = as_text(choose_by_latency(build))
    assert "ms: latency of one image in ONNX Runtime." in text
