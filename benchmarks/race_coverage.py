"""Check the claims of a race in simulations: the tie set, a single winner, and intervals.

    python benchmarks/race_coverage.py --races 300
    python benchmarks/race_coverage.py --random 35 --races 300

Each line is a structure of accuracies (`benchmarks/race_structures.py`). Its races have 12 members
of a grid, at most 5 seeds, 10 epochs, and 40% of the epochs of the full grid.
"""

import argparse
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from race_structures import NAMED, Sample, Structure, random_structures

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

    def cells(self) -> list[str]:
        cells = [
            f"{self.keeps_best / self.races:.1%}",
            f"{self.false_winner / self.races:.1%}",
            f"{self.ties / self.races:.1f}",
            f"{100 * self.regret / self.races:.3f}",
            f"{self.epochs / self.races:.0%}",
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
) -> None:
    headings = ["structure", "keeps best", "false winner", "ties", "regret", "epochs"]
    headings += [*INTERVAL_KINDS, "ms per race"]
    sys.stdout.write(f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}\n")
    for name, structure in structures.items():
        start_time = time.process_time()
        counts = simulate(
            structure,
            num_races=num_races,
            seed=seed,
            max_budget_fraction=max_budget_fraction,
            continues_trainings=continues_trainings,
        )
        milliseconds = 1000 * (time.process_time() - start_time) / num_races
        cells = [name, *counts.cells(), f"{milliseconds:.0f}"]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()


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
    )
