r"""CPU time of a proposal of the default strategy after many trials.

    python benchmarks/proposal_time.py --space proxylessnas --space accel_nasbench --trials 500
    python benchmarks/proposal_time.py --baseline ../phinas-before

Half of the trials before the first proposal are random networks, and the others are mutations of
the best tenth of these, as in a search. Scores rise with the FLOPs and have noise. Then follow some
proposals in a row, each of which becomes a complete trial. The first one tunes the hyperparameters,
and most of the others do not. Everything else that is computed once in a search is computed before.

With `--baseline`, the code of another checkout is timed too, and the two take turns, so that other
load on the machine affects both alike. Times are CPU times with one BLAS thread.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.search_state.proposer import make_proposer
from phinas.nas.strategies.interface import PastTrial
from phinas.nas.strategies.loading import load_strategy
from phinas.space.search_spaces.loading import load_space

_NOISE_STD = 0.003
_MUTATION_PROBABILITY = 0.1  # of a decision
_BENCHMARKS = Path(__file__).resolve().parent


class Search:
    """A search in memory, with trials in its history.

    Args:
        problem: The search problem.
        num_trials: Number of trials before the first proposal.
        noise_seed: Seed of the noise of the scores. The networks do not depend on it.
    """

    def __init__(self, problem: Problem, num_trials: int, *, noise_seed: int) -> None:
        self._problem = problem
        self._proposer = make_proposer(problem, load_strategy("bayesian"), seed=0)
        self._noise = np.random.default_rng(noise_seed)
        self._number = 0
        generator = np.random.default_rng(0)
        random_rows = problem.sample(num_trials - num_trials // 2, generator)
        flops = problem.costs(random_rows)[:, 0]
        best_rows = random_rows[np.argsort(flops)[-max(1, len(random_rows) // 10) :]]
        parents = best_rows[generator.integers(len(best_rows), size=num_trials // 2)]
        mutations = generator.integers(0, problem.num_choices, size=parents.shape)
        is_mutated = generator.random(parents.shape) < _MUTATION_PROBABILITY
        for row in [*random_rows.tolist(), *np.where(is_mutated, mutations, parents).tolist()]:
            trial = PastTrial(self._number, problem.space.from_indices(row), "running")
            self._proposer.add(trial)
            self._complete(trial)

    def _complete(self, trial: PastTrial) -> None:
        cost = float(self._problem.space.decode(trial.choices).cost().flops)
        score = float(0.3 + 0.02 * np.log(cost / 1e7) + _NOISE_STD * self._noise.normal())
        reward = self._problem.reward(score, cost)
        completed = replace(
            trial, status="complete", scores={1: score}, cost=cost, score=score, reward=reward
        )
        self._proposer.update(completed)
        self._number += 1

    def propose(self) -> float:
        """Make one proposal and complete its trial. Returns the CPU time of the proposal in
        seconds.
        """
        start_time = time.process_time()
        choices = self._proposer.ask(self._number, 0).choices
        seconds = time.process_time() - start_time
        trial = PastTrial(self._number, choices, "running")
        self._proposer.accept(trial)
        self._complete(trial)
        return seconds


def _serve(space_name: str, num_trials: int) -> None:
    """The process of one checkout: make a proposal for each line of the input."""
    reward = make_reward("soft", exponent=-0.07, target=3e8)
    problem = Problem(load_space(space_name), CostConstraint(), reward)
    # Fills the tables and caches, except that of the hyperparameters, which depend on the scores.
    Search(problem, num_trials, noise_seed=1).propose()
    search = Search(problem, num_trials, noise_seed=0)
    for _ in sys.stdin:
        click.echo(search.propose())


class _Worker:
    """A process that runs the code of a checkout."""

    def __init__(self, checkout: Path, space_name: str, num_trials: int) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--serve",
                "--space",
                space_name,
                "--trials",
                f"{num_trials}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def propose(self) -> float:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def _compare(checkouts: list[Path], space_name: str, num_trials: int, count: int) -> None:
    with ExitStack() as stack:
        workers = [
            stack.enter_context(_Worker(checkout, space_name, num_trials)) for checkout in checkouts
        ]
        rounds = [[worker.propose() for worker in workers] for _ in range(count)]
    for checkout, (first, *others) in zip(checkouts, zip(*rounds, strict=True), strict=True):
        click.echo(
            f"{space_name}, {num_trials} trials, {checkout}: "
            f"median {statistics.median(others):.3f} s, slowest {max(others):.3f} s, "
            f"with tuning {first:.3f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", action="append", help="search space; may be repeated")
    parser.add_argument("--trials", action="append", type=int, help="before the first proposal")
    parser.add_argument("--proposals", type=int, default=11)
    parser.add_argument("--baseline", type=Path, help="folder of another checkout")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    spaces = arguments.space or ["mnasnet", "proxylessnas", "accel_nasbench"]
    if arguments.serve:
        _serve(spaces[0], arguments.trials[0])
        return
    checkouts = [path for path in (arguments.baseline, _BENCHMARKS.parent) if path is not None]
    for space_name in spaces:
        for num_trials in arguments.trials or [500, 1000, 3000]:
            _compare(checkouts, space_name, num_trials, arguments.proposals)


if __name__ == "__main__":
    main()
