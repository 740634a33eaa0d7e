"""Does racing keep what the full grid would have chosen, and what does it cost? Simulated on stated
laws (phinas.scaling_search.race.synthetic_accuracy).

Each run has its own luck of networks, seeds and trainings. The full grid, plain successive halving
(thirds of the members at 1, 3 and 10 epochs, at least two at the end, all seeds; compared among the
last) and the race see the same trainings.

    python benchmarks/racing.py --members 12 --seeds 5 --runs 100
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from phinas.experiment.schema.config import ScalingSection
from phinas.experiment.statistics.paired_comparison import compare
from phinas.scaling_search.grid.measured_grid import make_grid, spread
from phinas.scaling_search.race.racing import Race, Training, judge, next_trainings, spent_by
from phinas.scaling_search.race.synthetic_accuracy import Law, factors
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec

BASELINE = preset("efficientnet_b0")
EPOCHS, SLOPE = 10, 0.015
LAWS = {
    "equal: no network differs": Law(power=0.0, ruggedness=0.0),
    "flat: dimensions substitute each other": Law(balance=0.0),
    "published: compound wins by 0.6 points": Law(),
    "middling: by 1.1": Law(balance=4.0, power=0.4),
    "steep: by 2": Law(balance=7.0, power=0.7),
    "compound loses: depth alone is best": Law(shares=(0.7, 0.15, 0.15), balance=0.0),
}
MISFITS = {
    "rugged: 0.4 points that no surface has": Law(ruggedness=0.004),
    "heavy tails": Law(balance=4.0, power=0.4, tails=True),
    "late ranks: drift of 0.5 points": Law(balance=4.0, power=0.4, scatter=0.04),
    "late ranks, little else": Law(balance=0.0, scatter=0.04),
}


class Found(NamedTuple):
    """Of one run and one way: epochs over the full grid's, and what was claimed, held against the
    truth and the full grid.
    """

    spent: float
    keeps_grids_winner: bool
    keeps_best: bool
    wrongly_unique: bool
    ties: int
    regret: float


class World:
    """One run: the trainings that any way may see, each drawn once."""

    def __init__(
        self, law: Law, specs: Sequence[ArchSpec], flops: Sequence[float], *, seeds: int
    ) -> None:
        self.seeds, self.members = seeds, len(specs)
        self.taken = np.array([SLOPE * math.log(ratio) for ratio in flops])
        self._law, self._specs, self._names = law, specs, [spec.spec_id for spec in specs]
        self.expected = cache(self._expected)
        self.accuracy = cache(self._accuracy)
        self.truth = (
            np.array([self.expected(member, EPOCHS) for member in range(len(specs))]) - self.taken
        )

    def _expected(self, member: int, epochs: int) -> float:
        return self._law.expected(self._specs[member], BASELINE, epochs)

    def _accuracy(self, member: int, seed: int, epochs: int) -> float:
        return self.expected(member, epochs) + self._law.luck(self._names[member], epochs, seed)

    def table(self, members: Sequence[int], epochs: int) -> dict[int, list[float]]:
        """Corrected accuracies, by member."""
        return {
            m: [self.accuracy(m, seed, epochs) - self.taken[m] for seed in range(self.seeds)]
            for m in members
        }

    @property
    def grids_winner(self) -> int:
        means = np.array(list(self.table(range(self.members), EPOCHS).values())).mean(1)
        return int(means.argmax())

    def found(self, spent: float, winner: int, ties: Sequence[int]) -> Found:
        best = int(self.truth.argmax())
        regret = float(self.truth[best] - self.truth[winner])
        return Found(
            spent,
            self.grids_winner in ties,
            best in ties,
            len(ties) == 1 and winner != best,
            len(ties),
            regret,
        )


def full_grid(world: World) -> Found:
    compared = compare(
        {str(m): row for m, row in world.table(range(world.members), EPOCHS).items()}
    )
    return world.found(1.0, int(compared.winner), [int(name) for name in compared.ties])


def halving(world: World) -> Found:
    left, spent = list(range(world.members)), 0
    for epochs in (1, 3, EPOCHS):
        table = world.table(left, epochs)
        spent += epochs * world.seeds * len(left)
        if epochs < EPOCHS:
            left = sorted(left, key=lambda m: -sum(table[m]))[: max(2, round(len(left) / 3))]
    compared = compare({str(m): row for m, row in table.items()})
    full = EPOCHS * world.seeds * world.members
    return world.found(spent / full, int(compared.winner), [int(name) for name in compared.ties])


def raced(world: World, *, coordinates: Any, flops: Sequence[float], **options: float) -> Found:
    race = Race(
        world.members,
        world.seeds,
        EPOCHS,
        coordinates=coordinates,
        flops=tuple(flops),
        slope=SLOPE,
        **options,
    )
    results: dict[Training, float | None] = {}
    while todo := next_trainings(race, results):
        results |= {training: world.accuracy(*training) for training in todo}
    verdict = judge(race, results)
    return world.found(spent_by(results) / race.full_grid, verdict.winner, verdict.ties)


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def compare_ways(law: Law, name: str, *, members: int, seeds: int, worlds: Sequence[int]) -> None:
    grid = spread(_grid(), members)
    specs, flops = [member.spec for member in grid], [member.ratio / 2 for member in grid]
    coordinates = tuple(
        tuple(math.log(factor) for factor in factors(spec, BASELINE)) for spec in specs
    )
    lucks = [World(replace(law, world=world), specs, flops, seeds=seeds) for world in worlds]
    ways = {
        "full grid": full_grid,
        "halving": halving,
        "race": partial(raced, coordinates=coordinates, flops=flops),
    }
    for way, claim in ways.items():
        began = time.process_time()
        of_runs = [claim(luck) for luck in lucks]
        found = Found(*np.array(of_runs, dtype=float).mean(0))
        kept = (
            f"{found.spent:.1%} | {found.keeps_grids_winner:.0%} | {found.keeps_best:.0%} "
            f"| {found.wrongly_unique:.0%}"
        )
        rest = (
            f"{max(one.spent for one in of_runs):.1%} | {found.ties:.1f} | {100 * found.regret:.3f}"
        )
        seconds = (time.process_time() - began) / len(lucks)
        tell(
            f"| {name} | {100 * law.noise:g} | {members} x {seeds} | {way} | {kept} | {rest} | "
            f"{seconds:.2f} |"
        )


@cache
def _grid() -> Any:
    return make_grid(BASELINE, ScalingSection(rounding="round", step=0.025))


def main(*, members: int, seeds: int, noises: Sequence[float], runs: int, first: int) -> None:
    tell(
        "| law | noise | grid | way | epochs | keeps grid's | keeps best | wrongly unique | most "
        "epochs | ties | lost | s |"
    )
    tell("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for noise in noises:
        for name, law in (LAWS | MISFITS).items():
            compare_ways(
                replace(law, noise=noise),
                name,
                members=members,
                seeds=seeds,
                worlds=range(first, first + runs),
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--noise", type=float, nargs="+", default=[0.002, 0.004], help="of a training, a fraction"
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument(
        "--first",
        type=int,
        default=1000,
        help="world; the race's settings were chosen on those below 100",
    )
    given = parser.parse_args()
    main(
        members=given.members,
        seeds=given.seeds,
        noises=given.noise,
        runs=given.runs,
        first=given.first,
    )
