"""Does it help to pick finalists by what all trials say, and are probabilities of the choice to be
believed?

Searches on the surrogate of Accel-NASBench under noise; of each, finalists by several rules,
trained again twice under the same noise (200 times over). What is lost against the best network
that the search measured, in reward.

    python benchmarks/finalists.py anb_dataset_jsons.tar.gz --seeds 20
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from phinas.experiment.measurement import Measurement
from phinas.experiment.statistics.paired_comparison import probability_of_best
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.accel_nasbench import Surrogate, benchmark_space, load_surrogate
from phinas.nas.problem import Problem
from phinas.nas.proposals import CandidateGenerator
from phinas.nas.reward import make_reward
from phinas.nas.selection.finalists import greedy_best_subset, sample_joint
from phinas.nas.study import InMemoryStudy
from phinas.nas.surrogate.accuracy_model import fit_accuracy_model
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.cost import network_cost
from phinas.space.search_spaces.inactive_choices import Indices

FINALISTS, TRAININGS, REPEATS = 4, 2, 200
PROBLEM = Problem(
    benchmark_space(),
    CostConstraint(),
    make_reward("soft", exponent=None, target=network_cost(benchmark_space().base).flops),
)


def run_search(
    strategy: str, surrogate: Surrogate, *, trials: int, seed: int, noise: float
) -> tuple[Indices, FloatArray]:
    """Positions and noisy accuracies of what a search measured."""
    noise_generator = np.random.default_rng(1000 + seed)
    study = InMemoryStudy(PROBLEM, strategy, seed=seed, history=[])
    candidate_generator = CandidateGenerator(PROBLEM, study, set(), seed=seed)
    rows, accuracies = [], []
    for number in range(trials):
        candidate = candidate_generator.next_candidate(number)
        assert candidate is not None
        spec, choices, _ = candidate
        row = benchmark_space().to_indices(choices)
        accuracy = (
            float(surrogate.accuracies(np.array([row]))[0]) + noise_generator.normal() * noise
        )
        flops = network_cost(spec).flops
        study.tell(number, PROBLEM.reward(accuracy, flops), Measurement(accuracy), flops)
        rows.append(row)
        accuracies.append(accuracy)
    return np.array(rows), np.array(accuracies)


def finalists_by_rule(rows: Indices, accuracies: FloatArray, *, seed: int) -> dict[str, list[int]]:
    """Finalists by each rule."""
    slope, _ = PROBLEM.reward.linear_coefficients(PROBLEM.costs(rows)[:, 0].astype(float))
    mean, covariance = fit_accuracy_model(PROBLEM.features, rows, accuracies).predict_joint(
        PROBLEM.features(rows)
    )
    rewards = slope * sample_joint(mean, covariance, np.random.default_rng(seed))
    best_counts = np.bincount(rewards.argmax(1), minlength=len(rows))
    return {
        "reward": np.argsort(-slope * accuracies)[:FINALISTS].tolist(),
        "expected reward": np.argsort(-slope * mean)[:FINALISTS].tolist(),
        "chance of being the best": np.lexsort((-slope * mean, -best_counts))[:FINALISTS].tolist(),
        "expected best of the set": greedy_best_subset(rewards, FINALISTS),
    }


def regret(
    finalists: list[int], rows: Indices, surrogate: Surrogate, *, seed: int, noise: float
) -> tuple[float, float]:
    """By the best of the finalists, and by the one that is chosen among them on average."""
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
        "| noise | strategy | finalists by | best of them | chosen | against reward | better / "
        "worse |"
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
            baseline_regrets = np.array(regrets_by_rule["reward"])[:, 1]
            for rule, losses in regrets_by_rule.items():
                best, chosen = np.array(losses).T
                gap = chosen - baseline_regrets
                error = gap.std(ddof=1) / len(gap) ** 0.5
                gap_text = (
                    f"{gap.mean():+.5f} \u00b1 {error:.5f} | {(gap < -1e-9).sum()} / "
                    f"{(gap > 1e-9).sum()}"
                )
                print_line(
                    f"| {noise} | {strategy} | {rule} | {best.mean():.5f} | {chosen.mean():.5f} | "
                    f"{gap_text} |"
                )


def check_probabilities(*, repeats: int = 400) -> None:
    """How often the winner is the best in truth, and what probability_of_best says of it."""
    generator = np.random.default_rng(0)
    print_line(
        "\n| networks | trainings | spread of networks / noise | right | said "
        "|\n|---|---|---|---|---|"
    )
    for networks, trainings in ((2, 2), (4, 2), (4, 3), (4, 5)):
        for network_std in (0.01, 0.5, 1.0, 3.0):
            is_right, probabilities = [], []
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
                is_right.append(measured_rewards.mean(1).argmax() == true_rewards.argmax())
            print_line(
                f"| {networks} | {trainings} | {network_std:g} | {np.mean(is_right):.2f} | "
                f"{np.mean(probabilities):.2f} |"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    arguments = parser.parse_args()
    compare_rules(load_surrogate(arguments.archive), seeds=arguments.seeds, trials=arguments.trials)
    check_probabilities()
