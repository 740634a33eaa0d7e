r"""Regret of searches that learn from an earlier one, by how much it has to do with them.

    python benchmarks/transfer.py --archive anb_dataset_jsons.tar.gz --out OUT --seeds 10 20

A search has 25 evaluations and the earlier one 30, both with the noise of Accel-NASBench. The
earlier search was one

- `same`: of the same landscape, with other random numbers and another exponent of the reward;
- `related`: of a landscape with other parameters (`landscapes.related`);
- `shuffled`: as in `same`, but its scores are assigned to its networks at random.

Finished searches are stored in OUT and not repeated. A ratio is that of the mean regrets (x100,
plus 0.05) with and without the earlier search; the interval is the standard error of the mean
difference.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import landscapes
import numpy as np
from numpy.typing import NDArray

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.accel_nasbench_surrogate import SEED_NOISE_STD, load_surrogate
from phinas.nas.problem import Problem
from phinas.nas.reward import Reward
from phinas.nas.strategies.bayesian import BayesianStrategy
from phinas.nas.strategies.interface import PastTrial, StartTraining
from phinas.nas.surrogate.transfer import EarlierSearch
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.loading import load_space

# (row, score with noise, reward with noise, reward without noise) of each evaluation
Evaluations = list[tuple[list[int], float, float, float]]
ScoreFn = Callable[[Problem, list[int]], float]

KINDS = ("same", "related", "shuffled")
SPACES = {
    "accel": "accel_nasbench",
    "layerwise": str(Path(__file__).parent / "layerwise.yaml"),
}
CHECKPOINTS = (5, 10, 15, 25, 50)
_ACCEL_OPTIMUM = 0.67078  # the best reward (strategies.md)
_EXPONENT, _OTHER_EXPONENT = -0.07, -0.15
_NUM_EARLIER = 30
_EARLIER_SEED = 1000  # added to the seed of a search for that of the earlier one
_RELATED_SEED = {"accel": 77_000, "layerwise": 88_000}  # the same for its landscape
_REGRET_OFFSET = 0.05


@cache
def make_problem(landscape: str, exponent: float) -> Problem:
    space = load_space(SPACES[landscape])
    reward = Reward("soft", exponent, float(space.base.cost().flops))
    return Problem(space, CostConstraint(0.0, math.inf), reward)


def make_score_fn(landscape: str, archive: Path) -> ScoreFn:
    """The score of a network without noise."""
    if landscape == "accel":
        return lambda _, row: float(load_surrogate(archive).accuracies(np.array([row]))[0])
    return _by_spec(lambda spec: landscapes.layerwise(spec, 0, 0))


def _by_spec(score: landscapes.ScoreFn) -> ScoreFn:
    return lambda problem, row: score(problem.space.decode(problem.space.from_indices(row)))


def search(problem: Problem, score: ScoreFn, *, seed: int, evaluations: int) -> Evaluations:
    """One search by the default strategy."""
    noise = np.random.default_rng([seed, 5])
    history: list[PastTrial] = []
    rows: Evaluations = []
    for number in range(evaluations):
        action = BayesianStrategy(problem, seed * 100_003 + number).propose(history)
        if not isinstance(action, StartTraining):
            raise TypeError(f"{action} does not train a network to the end")
        row = problem.space.to_indices(action.choices)
        true_score = score(problem, row)
        noisy_score = true_score + SEED_NOISE_STD * noise.standard_normal()
        cost = float(problem.costs(np.array([row]))[0, METRICS.index("flops")])
        reward = problem.reward(noisy_score, cost)
        scores, rewards = {1: noisy_score}, {1: reward}
        history.append(
            PastTrial(
                number, action.choices, "complete", scores, rewards, cost, noisy_score, reward
            )
        )
        rows.append((row, noisy_score, reward, problem.reward(true_score, cost)))
    return rows


def earlier_search(landscape: str, kind: str, seed: int, archive: Path, out: Path) -> EarlierSearch:
    """The earlier search of one search, from OUT if it was made before."""
    is_related = kind == "related"
    exponent = _EXPONENT if is_related else _OTHER_EXPONENT

    def run() -> Evaluations:
        score = make_score_fn(landscape, archive)
        if is_related:
            score = _by_spec(landscapes.related(landscape, _RELATED_SEED[landscape] + seed))
        problem = make_problem(landscape, exponent)
        return search(problem, score, seed=_EARLIER_SEED + seed, evaluations=_NUM_EARLIER)

    name = "related" if is_related else "same"
    rows = _stored(out / f"earlier_{landscape}_{name}_{seed}.json", run)
    scores = np.array([score for _, score, _, _ in rows])
    if kind == "shuffled":
        scores = np.random.default_rng(seed).permutation(scores)
    return EarlierSearch(kind, tuple(tuple(row) for row, *_ in rows), tuple(scores.tolist()))


def _stored(path: Path, run: Callable[[], Evaluations]) -> Evaluations:
    if not path.exists():
        path.write_text(json.dumps(run()))
    return [(row, *values) for row, *values in json.loads(path.read_text())]


def regrets(rows: Evaluations, optimum: float, checkpoints: Sequence[int]) -> NDArray[np.float64]:
    """Regret (x100) after some numbers of evaluations."""
    observed = np.array([reward for _, _, reward, _ in rows])
    true = np.array([reward for *_, reward in rows])
    return 100 * (optimum - np.array([true[np.argmax(observed[:count])] for count in checkpoints]))


def compare(landscape: str, archive: Path, out: Path, seeds: range, evaluations: int) -> None:
    """Print the rows of one landscape."""
    runs: dict[str, list[Evaluations]] = {}
    problem, score = make_problem(landscape, _EXPONENT), make_score_fn(landscape, archive)
    for seed in seeds:
        for kind in ("none", *KINDS):
            learning = problem
            if kind != "none":
                earlier = earlier_search(landscape, kind, seed, archive, out)
                learning = replace(problem, earlier_searches=(earlier,))
            path = out / f"{landscape}_{kind}_{seed}_{evaluations}.json"
            rows = _stored(
                path,
                lambda learning=learning, seed=seed: search(
                    learning, score, seed=seed, evaluations=evaluations
                ),
            )
            runs.setdefault(kind, []).append(rows)
    best = max(reward for kind in runs.values() for rows in kind for *_, reward in rows)
    optimum = max(best, _ACCEL_OPTIMUM) if landscape == "accel" else best
    checkpoints = [count for count in CHECKPOINTS if count <= evaluations]
    curves = {
        kind: np.array([regrets(rows, optimum, checkpoints) for rows in kind_runs])
        for kind, kind_runs in runs.items()
    }
    alone = curves["none"]
    means = ", ".join(f"{value:.2f}" for value in alone.mean(0))
    sys.stdout.write(f"| {landscape} | none | {means} | |\n")
    for kind in KINDS:
        ratios = (curves[kind].mean(0) + _REGRET_OFFSET) / (alone.mean(0) + _REGRET_OFFSET)
        differences = curves[kind] - alone
        errors = differences.std(0, ddof=1) / math.sqrt(len(differences))
        ratio_text = ", ".join(f"{value:.2f}" for value in ratios)
        difference_text = ", ".join(
            f"{mean:+.2f} ± {error:.2f}"
            for mean, error in zip(differences.mean(0), errors, strict=True)
        )
        sys.stdout.write(f"| {landscape} | {kind} | {ratio_text} | {difference_text} |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 10), metavar=("FIRST", "END"))
    parser.add_argument("--evaluations", type=int, default=25)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(
        "| landscape | earlier search | regret, or its ratio | difference |\n|---|---|--:|--:|\n"
    )
    for landscape in SPACES:
        compare(landscape, options.archive, options.out, range(*options.seeds), options.evaluations)


if __name__ == "__main__":
    main()
