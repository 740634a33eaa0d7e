"""The benchmark of strategies: regret, evaluations to reach a reward, quartiles over seeds."""

import importlib.util
import math

import numpy as np
import pytest

from phinas.experiment.artifacts.bench import BenchRun
from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark import runner
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
        **{"evaluator": evaluator, "trials": 15}
        | ({} if options.get("reward") == "accuracy" else {"reward_exponent": 0.0})
        | options
    )
    value = run_strategy(strategy=strategy, space="tiny", section=section.model_dump(), seed=4)
    return BenchRun.from_dict(value, source="job")


def make_run(true_rewards, rewards=None, seconds=0.5):
    count = len(true_rewards)
    return BenchRun(
        rewards=tuple(rewards or true_rewards),
        true_rewards=tuple(true_rewards),
        flops=(1,) * count,
        spent=tuple(map(float, range(1, count + 1))),
        seconds=(seconds,) * count,
        network_ids=("a",) * count,
        decisions=("stages.1.kernel",),
        choices=((3,),) * count,
    )


def test_regret_is_that_of_the_network_with_the_best_observed_reward():
    run = make_run([0.6, 0.5, 0.8, 0.7], rewards=[0.5, 0.7, 0.6, 0.9])
    assert compute_regrets(run, 1.0).tolist() == pytest.approx([0.4, 0.5, 0.5, 0.3])


def test_a_pruned_or_paused_training_counts_by_its_epochs():
    run = make_run([0.6, 0.8]).model_copy(update={"spent": (1.5, 3.25)})
    # after 1, 2, 3 and 4 evaluations
    assert compute_regrets(run, 1.0).tolist() == pytest.approx([1.0, 0.4, 0.4, 0.2])
    assert evaluations_to_reach(run, 0.8) == 3.25


def test_evaluations_to_reach_a_reward_count_from_one_and_are_infinite_if_it_is_not_reached():
    assert evaluations_to_reach(make_run([0.1, 0.4, 0.5]), 0.4) == 2
    assert evaluations_to_reach(make_run([0.1, 0.4, 0.5]), 0.6) == math.inf


def test_shorter_run_keeps_its_last_regret():
    bands = quartiles([np.array([0.4, 0.2]), np.array([0.4, 0.3, 0.1])])
    assert bands[2].tolist() == pytest.approx([0.125, 0.15, 0.175])


def test_summary_is_null_where_a_seed_never_reaches_the_reward():
    runs = [make_run([0.5] * 9 + [0.9] * 21), make_run([0.5] * 30)]
    summary = summarize_runs(runs, optimum=0.9, target_reward=0.5)
    assert summary.to_beat_target.worst is None
    assert summary.to_beat_target.lower is None  # between a number and infinity
    assert summary.to_reach_tolerance.median is None
    at_25, at_end = summary.regret
    assert (at_25.evaluations, at_end.evaluations) == (25, 30)
    assert (at_25.lower, at_25.median, at_25.upper) == pytest.approx((0.1, 0.2, 0.3))
    assert summary.final_regret is at_end
    assert summary.proposal_ms.mean == pytest.approx(500)


@pytest.mark.parametrize("strategy", [name for name in BENCHMARK_STRATEGIES if name != "asha"])
def test_strategy_uses_all_evaluations_and_depends_on_its_seed_only(evaluator, strategy):
    if strategy.startswith("syne") and importlib.util.find_spec("syne_tune") is None:
        pytest.skip("syne-tune is not installed (extra: benchmarks)")
    first_run, second_run = (run_benchmark(evaluator, strategy) for _ in range(2))
    assert first_run.rewards == second_run.rewards
    lists = (
        first_run.rewards,
        first_run.true_rewards,
        first_run.flops,
        first_run.spent,
        first_run.seconds,
        first_run.network_ids,
        first_run.choices,
    )
    assert set(map(len, lists)) == {15}
    assert first_run.rewards == first_run.true_rewards
    assert all(second >= 0 for second in first_run.seconds)


@pytest.mark.parametrize("strategy", ["random", "optuna-random"])
def test_each_evaluated_network_is_recorded_with_its_choices(evaluator, strategy):
    run = run_benchmark(evaluator, strategy)
    for choices, network_id, flops in zip(run.choices, run.network_ids, run.flops, strict=True):
        spec = TINY.decode(dict(zip(run.decisions, choices, strict=True)))
        assert (spec.network_id, spec.cost().flops) == (network_id, flops)


@pytest.mark.parametrize("strategy", ["bayesian", "optuna-random", "optuna-tpe"])
def test_no_strategy_evaluates_networks_outside_the_cost_limits(evaluator, strategy):
    run = run_benchmark(evaluator, strategy, max_flops=500_000, reward="accuracy")
    assert len(run.rewards) == 15
    assert max(run.flops) <= 500_000


def test_strategy_of_another_library_that_finds_nothing_within_the_limits_is_stopped(
    evaluator, monkeypatch
):
    monkeypatch.setattr(runner, "MAX_OUTSIDE_LIMITS", 20)
    with pytest.raises(RuntimeError, match="20 proposals in a row are outside search"):
        run_benchmark(evaluator, "optuna-random", max_flops=160_336)


def test_accuracy_reward_is_the_score(evaluator):
    run = run_benchmark(evaluator, "random", reward="accuracy", reward_exponent=None)
    assert run.rewards == run_benchmark(evaluator, "random", reward_exponent=0.0).rewards


def test_noise_is_in_the_rewards_and_not_in_the_true_rewards(evaluator):
    noisy_run = run_benchmark(evaluator, "random", noise_std=0.01)
    noise = np.array(noisy_run.rewards) - np.array(noisy_run.true_rewards)
    assert 0.004 < noise.std() < 0.02
    # Random search ignores the rewards.
    assert noisy_run.true_rewards == run_benchmark(evaluator, "random").true_rewards


@pytest.mark.parametrize("strategy", ["random", "optuna-random"])
def test_rewards_use_the_configured_cost(evaluator, strategy):
    options = {"cost": "params", "reward_exponent": -0.2}
    run = run_benchmark(evaluator, strategy, **options)
    assert run.rewards == pytest.approx(run.true_rewards)
    assert run.rewards != pytest.approx(
        run_benchmark(evaluator, strategy, reward_exponent=-0.2).rewards
    )


def test_beam_search_exceeds_the_best_of_many_random_networks():
    space = load_space("accel_nasbench")
    problem = Problem(
        space,
        CostConstraint(max_flops=3e8),
        make_reward("soft", exponent=-0.07, target=space.base.cost().flops),
    )

    def scores(indices):
        return 0.5 + indices.sum(1) / 1000

    best_reward = find_best_reward(problem, scores)
    assert best_reward == find_best_reward(problem, scores, seed=1)
    samples = problem.sample(20_000, np.random.default_rng(5))
    slope, _ = problem.reward.linear_coefficients(problem.costs(samples)[:, 0])
    assert best_reward > (slope * scores(samples)).max()
