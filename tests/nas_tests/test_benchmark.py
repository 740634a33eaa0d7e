"""How searchers are compared: regret of what looks best, evaluations to a level, quartiles over
seeds, peers on equal terms.
"""

import importlib.util
import math

import numpy as np
import pytest

from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark.optimum import find_best_reward
from phinas.nas.benchmark.regret import (
    compute_regrets,
    evaluations_to_reach,
    quartiles,
    summarize_runs,
)
from phinas.nas.benchmark.runner import BENCHMARK_STRATEGIES, run_strategy
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.space.cost import network_cost
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")
MODULE = """
def evaluate(spec, budget, seed):
    kernels = sum(stage.kernel == 5 for stage in spec.stages)
    return 0.3 + 0.05 * kernels + 0.04 * sum(stage.se > 0 for stage in spec.stages)
"""


@pytest.fixture
def evaluator(tmp_path, monkeypatch):
    name = f"table_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{name}:evaluate"


def run_benchmark(evaluator, strategy, **options):
    section = SearchSection(
        **{"evaluator": evaluator, "trials": 15, "reward_exponent": 0.0} | options
    )
    return run_strategy(strategy=strategy, space="tiny", section=section.model_dump(), seed=4)


def test_regret_is_that_of_the_network_which_looks_best_not_of_the_best_there_was():
    run = {"rewards": [0.5, 0.7, 0.6, 0.9], "true_rewards": [0.6, 0.5, 0.8, 0.7]}
    assert compute_regrets(run, 1.0).tolist() == pytest.approx([0.4, 0.5, 0.5, 0.3])


def test_evaluations_to_a_level_count_from_one_and_never_is_infinite():
    assert evaluations_to_reach({"true_rewards": [0.1, 0.4, 0.5]}, 0.4) == 2
    assert evaluations_to_reach({"true_rewards": [0.1, 0.4, 0.5]}, 0.6) == math.inf


def test_a_run_that_exhausted_its_space_stays_where_it_ended():
    bands = quartiles([np.array([0.4, 0.2]), np.array([0.4, 0.3, 0.1])])
    assert bands[2].tolist() == pytest.approx([0.125, 0.15, 0.175])


def test_a_summary_tells_medians_and_the_worst_and_says_never_where_some_seed_never_came_there():
    runs = [
        {"rewards": rewards, "true_rewards": rewards, "seconds": [0.5] * 30}
        for rewards in ([0.5] * 9 + [0.9] * 21, [0.5] * 30)
    ]
    summary = summarize_runs(runs, optimum=0.9, reference=0.5)
    assert summary["to_beat_reference"]["worst"] is None
    assert summary["to_beat_reference"]["lower"] is None  # half of two is not known to be there
    assert summary["to_reach_tolerance"]["median"] is None
    assert summary["regret"]["25"] == pytest.approx([0.1, 0.2, 0.3])
    assert summary["proposal_ms"]["mean"] == pytest.approx(500)


@pytest.mark.parametrize("strategy", BENCHMARK_STRATEGIES)
def test_every_searcher_measures_what_it_was_allowed_and_the_same_with_the_same_seed(
    evaluator, strategy
):
    if strategy.startswith("syne") and importlib.util.find_spec("syne_tune") is None:
        pytest.skip("syne-tune is not installed (extra: benchmarks)")
    first_run, second_run = (run_benchmark(evaluator, strategy) for _ in range(2))
    assert first_run["rewards"] == second_run["rewards"]
    assert {len(first_run[name]) for name in ("rewards", "true_rewards", "flops", "seconds")} == {
        15
    }
    assert first_run["rewards"] == first_run["true_rewards"]
    assert all(second >= 0 for second in first_run["seconds"])


def test_noise_is_seen_by_the_searcher_and_not_in_the_truth(evaluator):
    noisy_run = run_benchmark(evaluator, "random", noise_std=0.01)
    noise = np.array(noisy_run["rewards"]) - np.array(noisy_run["true_rewards"])
    assert 0.004 < noise.std() < 0.02
    # random looks at no reward
    assert noisy_run["true_rewards"] == run_benchmark(evaluator, "random")["true_rewards"]


@pytest.mark.parametrize("strategy", ["random", "optuna-random"])
def test_rewards_weigh_the_cost_that_was_asked_for(evaluator, strategy):
    """Without noise a strategy sees the truth, whatever the reward weighs."""
    options = {"cost": "params", "reward_exponent": -0.2}
    run = run_benchmark(evaluator, strategy, **options)
    assert run["rewards"] == pytest.approx(run["true_rewards"])
    assert run["rewards"] != pytest.approx(
        run_benchmark(evaluator, strategy, reward_exponent=-0.2)["rewards"]
    )


def test_the_best_reward_of_a_space_is_found_without_going_through_it():
    space = load_space("accel_nasbench")
    problem = Problem(
        space,
        CostConstraint(max_flops=3e8),
        make_reward("soft", exponent=-0.07, target=network_cost(space.base).flops),
    )

    def accuracies(indices):
        return 0.5 + indices.sum(1) / 1000

    best_reward = find_best_reward(problem, accuracies)
    assert best_reward == find_best_reward(problem, accuracies, seed=1)
    samples = problem.sample(20_000, np.random.default_rng(5))
    slope, _ = problem.reward.linear_coefficients(problem.costs(samples)[:, 0])
    assert best_reward > (slope * accuracies(samples)).max()
