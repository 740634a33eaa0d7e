"""The two proportions that replace a limited resolution (benchmarks/resolution_limit.py)."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from phinas.scaling_search.coefficients import Coefficients

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ONE_SIDED = Coefficients(1.0, 1.1, 1.3)


@pytest.fixture
def benchmark(monkeypatch):
    """The module benchmarks/resolution_limit.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import resolution_limit

    yield resolution_limit
    for name in ("resolution_limit", "accuracy_surfaces"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["own", "published"])
def test_both_proportions_have_the_same_flops_within_the_limit(benchmark, name):
    depth, width, resolution = benchmark.RULES[name](ONE_SIDED, 5, 1.5)
    assert resolution == pytest.approx(1.5**2)
    assert depth * width * resolution == pytest.approx(ONE_SIDED.nominal**5)


def test_only_the_own_proportion_stays_one_sided(benchmark):
    assert benchmark.own_proportion(ONE_SIDED, 5, 1.5)[0] == 1
    assert benchmark.published_proportion(ONE_SIDED, 5, 1.5)[0] > 2


def test_below_the_limit_both_proportions_agree(benchmark):
    member = Coefficients(1.2, 1.1, 1.15)
    assert benchmark.own_proportion(member, 1, 1.5) == pytest.approx(
        benchmark.published_proportion(member, 1, 1.5)
    )


def test_members_of_the_grid_double_the_flops_and_the_best_network_uses_them_all(benchmark):
    members = list(benchmark.grid())
    assert len(members) > 30
    assert all(member.nominal == pytest.approx(2) for member in members)

    def only_depth(depth, width, resolution):
        return np.log(depth)

    assert benchmark.best_accuracy(only_depth, 3, 1.5) == pytest.approx(3 * math.log(2))
