"""Tests of the synthetic accuracies in benchmarks/landscapes.py."""

import itertools
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phinas.space.search_spaces.loading import load_space

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SPACES = {
    "layerwise": BENCHMARKS / "layerwise.yaml",
    "saturating": "proxylessnas",
    "bottleneck": BENCHMARKS / "bottleneck.yaml",
}


@pytest.fixture
def landscapes(monkeypatch):
    """The module benchmarks/landscapes.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import landscapes

    yield landscapes
    del sys.modules["landscapes"]


def sample_networks(name, count=300):
    space, generator = load_space(str(SPACES[name])), random.Random(0)
    return [space.decode(space.sample(generator)) for _ in range(count)]


@pytest.mark.parametrize("name", SPACES)
def test_the_accuracy_is_determined_by_the_network(landscapes, name):
    evaluate = getattr(landscapes, name)
    networks = sample_networks(name)
    accuracies = [evaluate(network, 1, 0) for network in networks]
    assert accuracies == [evaluate(network, 5, 3) for network in networks]
    assert len(set(accuracies)) > 100
    assert 0 < min(accuracies) < max(accuracies) < 1


# Changes of these parameters make the tables in benchmarks/strategies.md wrong.
@pytest.mark.parametrize(
    ("name", "quartiles"),
    [
        ("layerwise", (0.7489, 0.7591, 0.7667)),
        ("saturating", (0.9033, 0.9072, 0.9106)),
        ("bottleneck", (0.2923, 0.3206, 0.3455)),
    ],
)
def test_the_accuracies_of_random_networks_are_those_of_the_tables(landscapes, name, quartiles):
    accuracies = [getattr(landscapes, name)(network, 1, 0) for network in sample_networks(name)]
    np.testing.assert_allclose(np.quantile(accuracies, [0.25, 0.5, 0.75]), quartiles, atol=5e-5)


def test_a_tenth_of_the_saturating_networks_fail_to_learn(landscapes):
    accuracies = np.array(
        [landscapes.saturating(network, 1, 0) for network in sample_networks("saturating", 3000)]
    )
    assert 0.085 < np.mean(accuracies == 0.1) < 0.115
    assert accuracies[accuracies != 0.1].min() > 0.8


def test_the_soft_reward_rises_if_half_the_layers_of_a_saturating_network_are_left_out(landscapes):
    space = load_space("proxylessnas")
    largest = {decision.name: "kernel=7,expansion=6" for decision in space.decisions}
    smaller = largest | {
        name: "identity" for name in largest if name.endswith(("layers.2.op", "layers.3.op"))
    }
    networks = [space.decode(choices) for choices in (largest, smaller)]
    # a different number of classes changes the network's name, on which failures depend
    accuracies = [
        max(landscapes.saturating(replace(network, classes=n), 1, 0) for n in (10, 11, 12))
        for network in networks
    ]
    flops = [network.cost().flops for network in networks]
    assert accuracies[1] < accuracies[0]
    assert accuracies[1] * (flops[1] / flops[0]) ** -0.07 > accuracies[0]


def test_the_best_value_of_a_bottleneck_setting_depends_on_the_others(landscapes):
    """For each stage, the best kernel differs between networks, and most changes of one setting
    make the best network much worse.
    """
    space, generator = load_space(str(SPACES["bottleneck"])), random.Random(0)

    def accuracy(choices):
        return landscapes.bottleneck(space.decode(choices), 1, 0)

    best_kernels = set()
    for _ in range(40):
        choices = space.sample(generator)
        kernels = (3, 5, 7)
        best_kernels.add(max(kernels, key=lambda k: accuracy({**choices, "stages.2.kernel": k})))
    assert len(best_kernels) > 1

    best = space.sample(generator)
    for _ in range(3):  # coordinate ascent over pairs of decisions
        for first, second in itertools.combinations(space.decisions, 2):
            best = max(
                (
                    {**best, first.name: a, second.name: b}
                    for a in first.values
                    for b in second.values
                ),
                key=accuracy,
            )
    losses = [
        accuracy(best) - accuracy({**best, decision.name: value})
        for decision in space.decisions
        for value in decision.values
        if value != best[decision.name]
    ]
    assert np.median(losses) > 0.05
