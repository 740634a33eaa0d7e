"""Compare rules that select finalists, and check the calibration of the probability of the choice.

    python benchmarks/finalists.py anb_dataset_jsons.tar.gz --seeds 20

Each search runs on the surrogate of Accel-NASBench with noise. Several rules select finalists from
its trials. The finalists are trained again twice with the same noise (200 repetitions), and the one
with the best mean is chosen. Regret is the difference in true reward to the best network that the
search measured.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import optuna

from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.recipe import Recipe
from phinas.experiment.schema.search import SearchSection
from phinas.experiment.statistics.paired_comparison import probability_of_best
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.accel_nasbench_surrogate import (
    Surrogate,
    benchmark_space,
    load_surrogate,
)
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.search_state.state import SearchState
from phinas.nas.selection.finalists import greedy_best_subset, sample_joint
from phinas.nas.surrogate.accuracy_model import fit_accuracy_model
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.search_spaces.inactive_choices import Indices

FINALISTS, TRAININGS, REPEATS = 4, 2, 200
PROBLEM = Problem(
    benchmark_space(),
    CostConstraint(),
    make_reward("soft", exponent=None, target=benchmark_space().base.cost().flops),
)


def run_search(
    strategy: str, surrogate: Surrogate, *, trials: int, seed: int, noise: float
) -> tuple[Indices, FloatArray]:
    """Indices of the choices, and noisy accuracies, of all trials of a search."""
    noise_generator = np.random.default_rng(1000 + seed)
    section = SearchSection(strategy=strategy, trials=trials, recipe=Recipe(epochs=1))
    trial_store = TrialStore(optuna.create_study(direction="maximize"))
    state = SearchState(PROBLEM, section, trial_store, seed=seed)
    rows, accuracies = [], []
    while (trial := state.next_trial(lambda network, _: network.network_id)) is not None:
        row = benchmark_space().to_indices(trial.choices)
        accuracy = (
            float(surrogate.accuracies(np.array([row]))[0]) + noise_generator.normal() * noise
        )
        state.finish(trial, Measurement(accuracy), attempts=1)
        rows.append(row)
        accuracies.append(accuracy)
    return np.array(rows), np.array(accuracies)


def finalists_by_rule(rows: Indices, accuracies: FloatArray, *, seed: int) -> dict[str, list[int]]:
    """Rule to its finalists, as positions in `rows`.

    Args:
        rows: Indices of the choices of each trial.
        accuracies: Noisy accuracy of each trial.
        seed: Seed of the samples from the posterior of the accuracies.
    """
    slope, _ = PROBLEM.reward.linear_coefficients(PROBLEM.costs(rows)[:, 0].astype(float))
    model = fit_accuracy_model(PROBLEM.features, rows, accuracies[:, None]).process
    mean, covariance = model.predict_joint(PROBLEM.features(rows))
    rewards = slope * sample_joint(mean, covariance, np.random.default_rng(seed))
    best_counts = np.bincount(rewards.argmax(1), minlength=len(rows))
    return {
        "reward": np.argsort(-slope * accuracies)[:FINALISTS].tolist(),
        "expected reward": np.argsort(-slope * mean)[:FINALISTS].tolist(),
        "probability of being best": np.lexsort((-slope * mean, -best_counts))[:FINALISTS].tolist(),
        "expected maximum": greedy_best_subset(rewards, FINALISTS),
    }


def regret(
    finalists: list[int], rows: Indices, surrogate: Surrogate, *, seed: int, noise: float
) -> tuple[float, float]:
    """Regret of the best finalist, and mean regret of the one that is chosen."""
    slope, _ = PROBLEM.reward.linear_coefficients(PROBLEM.costs(rows)[:, 0].astype(float))
    true_rewards = slope * surrogate.accuracies(rows)
    training_noise = (
        np.random.default_rng(seed).normal(size=(REPEATS, len(rows), TRAININGS)).mean(2) * noise
    )
    chosen = (true_rewards + slope * training_noise)[:, finalists].argmax(1)
    return float(true_rewards.max() - true_rewards[finalists].max()), float(
        true_rewards.max() - true_rewards[finalists][chosen].mean()
    )


def print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def compare_rules(surrogate: Surrogate, *, seeds: int, trials: int) -> None:
    print_line(
        "| noise | strategy | finalists by | regret of the best finalist "
        '| regret of the chosen one | difference to "reward" | better / worse |'
    )
    print_line("|---|---|---|---|---|---|---|")
    for noise in (0.0031, 0.01):
        for strategy in ("random", "tpe", "bayesian"):
            regrets_by_rule: dict[str, list[tuple[float, float]]] = {}
            for seed in range(seeds):
                rows, accuracies = run_search(
                    strategy, surrogate, trials=trials, seed=seed, noise=noise
                )
                for rule, finalists in finalists_by_rule(rows, accuracies, seed=seed).items():
                    regrets_by_rule.setdefault(rule, []).append(
                        regret(finalists, rows, surrogate, seed=seed, noise=noise)
                    )
            reward_rule_regrets = np.array(regrets_by_rule["reward"])[:, 1]
            for rule, regrets in regrets_by_rule.items():
                best, chosen = np.array(regrets).T
                differences = chosen - reward_rule_regrets
                error = differences.std(ddof=1) / len(differences) ** 0.5
                print_line(
                    f"| {noise} | {strategy} | {rule} | {best.mean():.5f} | {chosen.mean():.5f} | "
                    f"{differences.mean():+.5f} ± {error:.5f} | "
                    f"{(differences < -1e-9).sum()} / {(differences > 1e-9).sum()} |"
                )


def check_probabilities(*, repeats: int = 400) -> None:
    """How often the winner is truly the best network, and the mean of its `probability_of_best`."""
    generator = np.random.default_rng(0)
    print_line(
        "\n| networks | trainings | std of networks / noise | correct choices | mean probability "
        "|\n|---|---|---|---|---|"
    )
    for networks, trainings in ((2, 2), (4, 2), (4, 3), (4, 5)):
        for network_std in (0.01, 0.5, 1.0, 3.0):
            is_correct, probabilities = [], []
            for _ in range(repeats):
                true_rewards = generator.normal(0, network_std, networks)
                seed_effects = generator.normal(0, 3, trainings)
                measured_rewards = (
                    true_rewards[:, None]
                    + seed_effects
                    + generator.normal(0, 1, (networks, trainings))
                )
                probabilities.append(
                    probability_of_best(
                        {str(index): list(row) for index, row in enumerate(measured_rewards)}
                    )
                )
                is_correct.append(measured_rewards.mean(1).argmax() == true_rewards.argmax())
            print_line(
                f"| {networks} | {trainings} | {network_std:g} | {np.mean(is_correct):.2f} | "
                f"{np.mean(probabilities):.2f} |"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, help="anb_dataset_jsons.tar.gz of Accel-NASBench")
    parser.add_argument(
        "--seeds", type=int, default=20, metavar="N", help="searches per strategy (default: 20)"
    )
    parser.add_argument(
        "--trials", type=int, default=100, metavar="N", help="trials of a search (default: 100)"
    )
    arguments = parser.parse_args()
    compare_rules(load_surrogate(arguments.archive), seeds=arguments.seeds, trials=arguments.trials)
    check_probabilities()
