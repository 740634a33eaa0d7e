"""Check the claims of a race in simulations: the tie set, a single winner, and intervals.

    python benchmarks/race_coverage.py --races 300
    python benchmarks/race_coverage.py --random 35 --races 300
    python benchmarks/race_coverage.py --random 35 --known slope drift shared

Each line is a structure of accuracies (`benchmarks/race_structures.py`). Its races have 12 members
of a grid, at most 5 seeds, 10 epochs, and 40% of the epochs of the full grid. The last line is the
mean. With `--known`, hyperparameters of the posterior are set to those of the structure, instead of
being estimated: a bound for what an earlier search could tell about them.
"""

import argparse
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from unittest import mock

import numpy as np
import numpy.typing as npt
from race_structures import NAMED, Sample, Structure, random_structures

from phinas.experiment.statistics import posterior_fit
from phinas.scaling_search.race import race_state
from phinas.scaling_search.race.race import Race, RaceResult, TrainingRun
from phinas.scaling_search.race.racing import evaluate_race, next_runs

NUM_MEMBERS, NUM_SEEDS, EPOCHS = 12, 5, 10
INTERVAL_KINDS = ("margin", "2 or more full", "1 full", "short only")


@dataclass
class Counts:
    """Sums over the races of a structure."""

    races: int = 0
    no_result: int = 0
    keeps_best: int = 0
    false_winner: int = 0
    ties: float = 0.0
    regret: float = 0.0
    epochs: float = 0.0
    intervals: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))

    def add(self, race: Race, result: RaceResult, sample: Sample) -> None:
        truth, winner = sample.truth, result.winner
        best = int(truth.argmax())
        best_members = {int(member) for member in np.flatnonzero(truth == truth[best])}
        self.races += 1
        self.keeps_best += not best_members.isdisjoint(result.ties)
        self.false_winner += len(result.ties) == 1 and winner not in best_members
        self.ties += len(result.ties)
        self.regret += float(truth[best] - truth[winner])
        self.epochs += result.epochs_spent / race.full_grid_epochs
        if result.margin_interval is not None:
            low, high = result.margin_interval
            difference = truth[winner] - truth[result.runner_up]
            self.intervals["margin"].append(bool(low <= difference <= high))
        for member, row in enumerate(result.member_results):
            if member == winner or row.gap_interval is None:
                continue
            low, high = row.gap_interval
            kind = INTERVAL_KINDS[3 - min(row.num_trainings, 2)]
            self.intervals[kind].append(bool(low <= truth[winner] - truth[member] <= high))

    def fractions(self) -> dict[str, float]:
        """Of the races, or per race; the regret in points."""
        return {
            "keeps best": self.keeps_best / self.races,
            "false winner": self.false_winner / self.races,
            "ties": self.ties / self.races,
            "regret": 100 * self.regret / self.races,
            "epochs": self.epochs / self.races,
        }

    def cells(self) -> list[str]:
        fractions = self.fractions()
        cells = [
            f"{fractions['keeps best']:.1%}",
            f"{fractions['false winner']:.1%}",
            f"{fractions['ties']:.1f}",
            f"{fractions['regret']:.3f}",
            f"{fractions['epochs']:.0%}",
        ]
        for kind in INTERVAL_KINDS:
            hits = self.intervals[kind]
            cells.append(f"{np.mean(hits):.1%}" if hits else "")
        return cells


def grid_coordinates() -> npt.NDArray[np.float64]:
    """(members, 3): log alpha, log beta and log gamma of networks with equal FLOPs."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet((1, 1, 1), 400)
    chosen = [0]
    while len(chosen) < NUM_MEMBERS:  # farthest points
        distances = np.linalg.norm(shares[:, None] - shares[chosen], axis=2).min(1)
        chosen.append(int(distances.argmax()))
    return shares[chosen] * np.log(2) * np.array([1.0, 0.5, 0.5])


@contextmanager
def known_hyperparameters(structure: Structure, names: Collection[str]) -> Iterator[None]:
    """Let the posterior know some hyperparameters of a structure, within about 10%.

    Args:
        names: Of slope, drift, shared and signal (see `posterior_fit`).
    """
    points = posterior_fit._hyperparameter_points()
    generator = np.random.default_rng(0)
    count = len(points.signal)
    samples = [structure.sample(grid_coordinates(), NUM_SEEDS, seed).truth for seed in range(50)]
    spread = max(100 * float(np.median([np.std(truth) for truth in samples])), 1e-3)
    nearly_one = np.exp(0.1 * generator.standard_normal(count))
    values = {
        "slope": structure.slope + 0.05 * generator.standard_normal(count),
        "drift": np.clip(structure.drift / spread, 0.05, 30.0) * nearly_one,
        "shared": np.full(count, min(0.97, math.sqrt(structure.continued))),
        "signal": max(spread / structure.noise, 0.05) * nearly_one,
    }
    known = replace(points, **{name: values[name] for name in names})
    race_state._cached_race_state.cache_clear()
    with mock.patch.object(posterior_fit, "_hyperparameter_points", return_value=known):
        yield
    race_state._cached_race_state.cache_clear()


def simulate(
    structure: Structure,
    *,
    num_races: int,
    seed: int,
    max_budget_fraction: float,
    continues_trainings: bool,
) -> Counts:
    """Simulate races of one structure."""
    coordinates = grid_coordinates()
    race = Race(
        NUM_MEMBERS,
        NUM_SEEDS,
        EPOCHS,
        coordinates=tuple(tuple(row) for row in coordinates.tolist()),
        max_budget_fraction=max_budget_fraction,
        continues_trainings=continues_trainings,
    )
    counts = Counts()
    for index in range(num_races):
        sample = structure.sample(coordinates, NUM_SEEDS, seed + index)
        results: dict[TrainingRun, float | None] = {}
        while rung := next_runs(race, results):
            for run in rung:
                scores = sample.full[run.seed] if run.epochs == EPOCHS else sample.short
                score = float(scores[run.member])
                results[run] = None if np.isnan(score) else score
        try:
            result = evaluate_race(race, results)
        except ValueError:
            counts.no_result += 1
            continue
        counts.add(race, result, sample)
    return counts


def main(
    structures: dict[str, Structure],
    *,
    num_races: int,
    seed: int,
    max_budget_fraction: float,
    continues_trainings: bool,
    known: Collection[str] = (),
) -> None:
    totals = Counter[str]()
    headings = ["structure", "keeps best", "false winner", "ties", "regret", "epochs"]
    headings += [*INTERVAL_KINDS, "ms per race"]
    sys.stdout.write(f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}\n")
    for name, structure in structures.items():
        start_time = time.process_time()
        with known_hyperparameters(structure, known):
            counts = simulate(
                structure,
                num_races=num_races,
                seed=seed,
                max_budget_fraction=max_budget_fraction,
                continues_trainings=continues_trainings,
            )
        totals.update(counts.fractions())
        milliseconds = 1000 * (time.process_time() - start_time) / num_races
        cells = [name, *counts.cells(), f"{milliseconds:.0f}"]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()
    means = {name: total / len(structures) for name, total in totals.items()}
    sys.stdout.write(
        f"| mean | {means['keeps best']:.1%} | {means['false winner']:.1%} | {means['ties']:.2f} | "
        f"{means['regret']:.3f} | {means['epochs']:.0%} |\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--races", type=int, default=300, metavar="N", help="races per structure")
    parser.add_argument("--seed", type=int, default=10_000, help="seed of the first race")
    parser.add_argument("--budget", type=float, default=0.4, help="fraction of the full grid's")
    parser.add_argument(
        "--restart",
        action="store_true",
        help="full trainings start from the first epoch instead of continuing the short ones",
    )
    parser.add_argument(
        "--random", type=int, default=0, metavar="N", help="this many random structures instead"
    )
    parser.add_argument("--random-seed", type=int, default=2026, help="seed of these structures")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="structures that start with TEXT"
    )
    parser.add_argument(
        "--known",
        nargs="+",
        default=(),
        choices=("slope", "drift", "shared", "signal"),
        help="hyperparameters that are not estimated",
    )
    arguments = parser.parse_args()
    chosen = (
        random_structures(arguments.random, arguments.random_seed)
        if arguments.random
        else dict(NAMED)
    )
    main(
        {name: value for name, value in chosen.items() if name.startswith(tuple(arguments.only))},
        num_races=arguments.races,
        seed=arguments.seed,
        max_budget_fraction=arguments.budget,
        continues_trainings=not arguments.restart,
        known=arguments.known,
    )
