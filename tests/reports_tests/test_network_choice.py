"""Tests of the index of measured networks, and of the choice under limits."""

import json

import pytest
from click.testing import CliRunner

import phinas
from phinas.api.choice_text import describe_choice
from phinas.cli import cli
from phinas.deployment.trained_network import member_weights
from phinas.experiment.errors import InputError, NoResultError
from phinas.network_source import load_network
from phinas.reports.measured_networks import measured_networks
from phinas.reports.network_choice import Limits, choose_network
from phinas.reports.run_reader import read_run_data
from phinas.reports.tables.networks import make_networks_table

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
    advice = r"raise the limit, or search for networks with fewer FLOPs \(phinas search --max-fl"
    with pytest.raises(NoResultError, match=rf"fewest FLOPs: {smallest.name} with .*{advice}"):
        choose(networks, max_flops=10)
    smallest = min(networks, key=lambda network: network.cost.params)
    advice = r"search for networks with fewer parameters \(phinas search --cost params\)$"
    with pytest.raises(NoResultError, match=rf"fewest parameters: {smallest.name} with.*{advice}"):
        choose(networks, max_size_mb=1e-6)


def test_limit_that_no_network_meets_names_the_fastest(networks):
    def get_latency_ms(network):
        return 3.0 if network.name == "b1" else 4.0

    advice = r"raise the limit, or search for networks with less latency"
    with pytest.raises(NoResultError, match=rf"at most 2 ms; fastest: b1 with 3 ms; {advice}"):
        choose(networks, get_latency_ms, max_latency_ms=2)


def test_networks_that_cannot_be_timed_are_skipped(networks):
    family = sorted(
        (network for network in networks if network.kind == "test"), key=lambda item: -item.score
    )

    def get_latency_ms(network):
        if network == family[0]:
            raise NoResultError("cannot be exported to ONNX")
        return 1.0

    choice = choose(family, get_latency_ms, max_latency_ms=2)
    assert choice.best == family[1]
    assert choice.skipped == {family[0].name: "cannot be exported to ONNX"}


def test_run_of_which_no_network_can_be_timed_is_refused(networks):
    def get_latency_ms(_network):
        raise NoResultError("cannot be exported to ONNX")

    others = len(networks) - 1
    with pytest.raises(NoResultError, match=rf"exported to ONNX\), and {others:,} more"):
        choose(networks, get_latency_ms, max_latency_ms=2)


def test_run_without_measurements_is_named(build):
    with pytest.raises(NoResultError, match="has not measured a network yet"):
        phinas.choose(build().run.path)


def test_run_without_the_name_of_a_network_is_refused(run):
    with pytest.raises(InputError, match=r"is a run, .* name one, such as .*:baseline"):
        load_network(str(run.path))


@pytest.mark.parametrize("value", ["-1", 0, "many", float("inf")])
def test_limit_that_is_not_a_positive_number_is_refused(run, value):
    with pytest.raises(InputError, match="max_flops"):
        phinas.choose(run.path, max_flops=value)


def test_text_has_the_data_options_of_the_run(build):
    data = {"source": "digits", "upsample": True, "test_fraction": 0.3, "max_train_images": 900}
    text = describe_choice(phinas.choose(build(data=data).search(4).run.path, quiet=True))
    assert " --data digits --upsample --set data.test_fraction=0.3 --out DIRECTORY" in text


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
    latency = result.latencies[result.choice.best.name]
    assert latency.ms == result.choice.best.latency_ms
    assert latency.hardware == "a chip, 1 thread"
    assert result.threads is None


def test_latencies_of_another_runtime_do_not_count(build):
    assert choose_by_latency(build, runtime="torch").latencies == {}


def test_latencies_of_larger_batches_do_not_count(build):
    search = LATENCY_SEARCH | {"latency_batch_size": 8}
    assert choose_by_latency(build, search=search).latencies == {}


def test_onnx_runtime_on_a_gpu_is_refused(run):
    with pytest.raises(InputError, match=r"^device: cuda is not available for runtime: onnxrun"):
        phinas.choose(run.path, max_latency_ms=5, runtime="onnxruntime", device="cuda", quiet=True)


def test_text_says_the_runtime_of_the_latencies(build):
    text = describe_choice(choose_by_latency(build))
    assert "ms: latency of one image in ONNX Runtime, recorded by the run (a chip, 1 thr" in text


def test_chosen_member_says_which_training_its_weights_are_from(run, networks):
    path = member_weights(run, "b2")
    assert phinas.choose(run.path, quiet=True).saved_weights == {}
    path.touch()
    try:
        result = phinas.choose(run.path, quiet=True)
        text = describe_choice(result)
    finally:
        path.unlink()
    row = next(row for row in read_run_data(run).tested_members if row.member.name == "b2")
    assert result.saved_weights["b2"].score == row.result.scores[0]
    assert result.saved_weights["b2"].mean_score == row.result.score
    if result.choice.best.name == "b2":
        assert result.to_dict()["best"]["weights"]["seed"] == row.record.weights.seed
        assert "The weights of b2 are those of one of" in text
        assert f"phinas predict {run.path}:b2" in text


@pytest.mark.slow
def test_networks_are_timed_with_the_selected_number_of_threads(run):
    result = phinas.choose(run.path, max_latency_ms=1e6, quiet=True, device="cpu")
    assert result.threads is not None
    latency = result.latencies[result.choice.best.name]
    assert f"{result.threads} thread" in latency.hardware
    assert result.to_dict()["threads"] == result.threads
    assert "timed now (" in describe_choice(result)


@pytest.mark.slow
def test_timing_shows_the_number_of_different_networks(run, networks, capfd):
    with pytest.raises(
        NoResultError, match=r"at most 1e-06 ms; fastest: \S+ with [\d.]+ ms; raise"
    ):
        phinas.choose(run.path, max_latency_ms=1e-6, device="cpu")
    distinct = len({network.spec.network_id for network in networks})
    assert distinct < len(networks)
    output = capfd.readouterr().err
    assert f"latency: 0 of {distinct} networks, timing " in output
    assert ", fastest so far: " in output


def test_weights_that_were_deleted_are_named(run):
    path = member_weights(run, "b2")
    with pytest.raises(InputError, match=rf"{path}: was deleted or renamed; restore it, or train"):
        phinas.load_model(f"{run.path}:b2")


def test_the_page_lists_each_network_that_no_smaller_one_of_its_kind_exceeds(run, networks):
    table = make_networks_table(read_run_data(run))
    listed = [row[0].text for row in table.rows]
    by_name = {network.name: network for network in networks}
    assert {by_name[name].kind for name in listed} == {network.kind for network in networks}
    for network in networks:
        is_reached = any(
            other.kind == network.kind
            and other.score >= network.score
            and other.cost.flops <= network.cost.flops
            for other in networks
            if other.name != network.name
        )
        assert is_reached or network.name in listed
    for kind in {network.kind for network in networks}:
        same_kind = [by_name[name] for name in listed if by_name[name].kind == kind]
        for values in ([item.cost.flops for item in same_kind], [item.score for item in same_kind]):
            assert values == sorted(set(values))


def test_a_limit_chooses_a_network_that_the_page_lists(run, networks):
    listed = {row[0].text for row in make_networks_table(read_run_data(run)).rows}
    for limit in {network.cost.flops for network in networks if network.kind == "test"}:
        assert choose(networks, max_flops=limit).best.name in listed
