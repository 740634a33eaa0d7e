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
from phinas.experiment.statistics.paired_comparison import chance_of_best
from phinas.nas.cost_constraint import Gate
from phinas.nas.evaluators.accel_nasbench import Surrogate, space, surrogate
from phinas.nas.problem import Problem
from phinas.nas.proposals import Proposals
from phinas.nas.reward import make_reward
from phinas.nas.selection.finalists import best_together, draw_jointly
from phinas.nas.study import Proposer
from phinas.nas.surrogate.accuracy_model import learn_accuracy
from phinas.nas.surrogate.gaussian_process import Floats
from phinas.space.cost import cost
from phinas.space.search_spaces.inactive_choices import Indices

FINALISTS, TRAININGS, REPEATS = 4, 2, 200
PROBLEM = Problem(
    space(), Gate(), make_reward("soft", weight=None, target=cost(space().base).flops)
)


def searched(
    strategy: str, table: Surrogate, *, trials: int, seed: int, noise: float
) -> tuple[Indices, Floats]:
    """Positions and noisy accuracies of what a search measured."""
    luck = np.random.default_rng(1000 + seed)
    proposer = Proposer(PROBLEM, strategy, seed=seed, history=[])
    proposals = Proposals(PROBLEM, proposer, set(), seed=seed)
    rows, accuracies = [], []
    for number in range(trials):
        proposed = proposals.settle(number)
        assert proposed is not None
        spec, choices, _ = proposed
        row = space().indices(choices)
        accuracy = float(table.accuracies(np.array([row]))[0]) + luck.normal() * noise
        price = cost(spec).flops
        proposer.tell(number, PROBLEM.reward(accuracy, price), Measurement(accuracy), price)
        rows.append(row)
        accuracies.append(accuracy)
    return np.array(rows), np.array(accuracies)


def picked(rows: Indices, accuracies: Floats, *, seed: int) -> dict[str, list[int]]:
    """Finalists by each rule."""
    slope, _ = PROBLEM.reward.line(PROBLEM.costs(rows)[:, 0].astype(float))
    mean, covariance = learn_accuracy(PROBLEM.features, rows, accuracies).joint(
        PROBLEM.features(rows)
    )
    rewards = slope * draw_jointly(mean, covariance, np.random.default_rng(seed))
    chances = np.bincount(rewards.argmax(1), minlength=len(rows))
    return {
        "reward": np.argsort(-slope * accuracies)[:FINALISTS].tolist(),
        "expected reward": np.argsort(-slope * mean)[:FINALISTS].tolist(),
        "chance of being the best": np.lexsort((-slope * mean, -chances))[:FINALISTS].tolist(),
        "expected best of the set": best_together(rewards, FINALISTS),
    }


def lost(
    finalists: list[int], rows: Indices, table: Surrogate, *, seed: int, noise: float
) -> tuple[float, float]:
    """By the best of the finalists, and by the one that is chosen among them on average."""
    slope, _ = PROBLEM.reward.line(PROBLEM.costs(rows)[:, 0].astype(float))
    true = slope * table.accuracies(rows)
    luck = np.random.default_rng(seed).normal(size=(REPEATS, len(rows), TRAININGS)).mean(2) * noise
    chosen = (true + slope * luck)[:, finalists].argmax(1)
    return float(true.max() - true[finalists].max()), float(
        true.max() - true[finalists][chosen].mean()
    )


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def compare_rules(table: Surrogate, *, seeds: int, trials: int) -> None:
    tell(
        "| noise | strategy | finalists by | best of them | chosen | against reward | better / "
        "worse |"
    )
    tell("|---|---|---|---|---|---|---|")
    for noise in (0.0031, 0.01):
        for strategy in ("random", "tpe", "predictor"):
            found: dict[str, list[tuple[float, float]]] = {}
            for seed in range(seeds):
                rows, accuracies = searched(strategy, table, trials=trials, seed=seed, noise=noise)
                for rule, finalists in picked(rows, accuracies, seed=seed).items():
                    found.setdefault(rule, []).append(
                        lost(finalists, rows, table, seed=seed, noise=noise)
                    )
            plain = np.array(found["reward"])[:, 1]
            for rule, losses in found.items():
                best, chosen = np.array(losses).T
                gap = chosen - plain
                error = gap.std(ddof=1) / len(gap) ** 0.5
                told = (
                    f"{gap.mean():+.5f} \u00b1 {error:.5f} | {(gap < -1e-9).sum()} / "
                    f"{(gap > 1e-9).sum()}"
                )
                tell(
                    f"| {noise} | {strategy} | {rule} | {best.mean():.5f} | {chosen.mean():.5f} | "
                    f"{told} |"
                )


def check_chances(*, repeats: int = 400) -> None:
    """How often the winner is the best in truth, and what chance_of_best says of it."""
    generator = np.random.default_rng(0)
    tell(
        "\n| networks | trainings | spread of networks / noise | right | said "
        "|\n|---|---|---|---|---|"
    )
    for networks, trainings in ((2, 2), (4, 2), (4, 3), (4, 5)):
        for spread in (0.01, 0.5, 1.0, 3.0):
            right, said = [], []
            for _ in range(repeats):
                true = generator.normal(0, spread, networks)
                shared = generator.normal(0, 3, trainings)
                seen = true[:, None] + shared + generator.normal(0, 1, (networks, trainings))
                said.append(
                    chance_of_best({str(place): list(row) for place, row in enumerate(seen)})
                )
                right.append(seen.mean(1).argmax() == true.argmax())
            tell(
                f"| {networks} | {trainings} | {spread:g} | {np.mean(right):.2f} | "
                f"{np.mean(said):.2f} |"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    given = parser.parse_args()
    compare_rules(surrogate(given.archive), seeds=given.seeds, trials=given.trials)
    check_chances()
