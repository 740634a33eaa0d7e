"""Compare racing with the full grid and with plain successive halving, in simulations.

    python benchmarks/racing.py --members 12 --seeds 5 --runs 100

Accuracies come from synthetic models (`phinas.scaling_search.race.synthetic_accuracy`). Each run
has its own model seed, and all methods of a run use the same trainings. Successive halving trains
with all seeds, keeps a third of the members after 1 and after 3 epochs (at least two), and compares
the remaining ones after 10.
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
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.race.race import Race, TrainingRun
from phinas.scaling_search.race.racing import evaluate_race, next_runs
from phinas.scaling_search.race.synthetic_accuracy import SyntheticAccuracyModel, scaling_factors
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec

BASELINE = preset("efficientnet_b0")
EPOCHS, SLOPE = 10, 0.015
# Of the variance of a full training's noise; what it has in common with the short one that it
# continues.
SHARED_NOISE = 0.3
MODELS = {
    "equal: all networks have the same accuracy": SyntheticAccuracyModel(
        power=0.0, ruggedness_std=0.0
    ),
    "flat: dimensions substitute each other": SyntheticAccuracyModel(complementarity=0.0),
    "published: compound wins by 0.6 points": SyntheticAccuracyModel(),
    "medium: compound wins by 1.1 points": SyntheticAccuracyModel(complementarity=4.0, power=0.4),
    "steep: compound wins by 2 points": SyntheticAccuracyModel(complementarity=7.0, power=0.7),
    "compound loses: depth only is best": SyntheticAccuracyModel(
        dimension_weights=(0.7, 0.15, 0.15), complementarity=0.0
    ),
}
MISSPECIFIED_MODELS = {
    "rugged: 0.4 points without structure": SyntheticAccuracyModel(ruggedness_std=0.004),
    "heavy tails": SyntheticAccuracyModel(complementarity=4.0, power=0.4, heavy_tails=True),
    "late ranks: drift of 0.5 points": SyntheticAccuracyModel(
        complementarity=4.0, power=0.4, slowness_std=0.04
    ),
    "late ranks, flat otherwise": SyntheticAccuracyModel(complementarity=0.0, slowness_std=0.04),
}


class Outcome(NamedTuple):
    """The outcome of one method in one run.

    Attributes:
        budget_fraction: Epochs, as a fraction of those of the full grid.
        keeps_grid_winner: Whether the tie set contains the winner of the full grid.
        keeps_best: Whether the tie set contains the best member.
        has_false_winner: Whether the tie set has one member, and this is not the best one.
        ties: Size of the tie set.
        regret: True accuracy of the best member minus that of the winner.
    """

    budget_fraction: float
    keeps_grid_winner: bool
    keeps_best: bool
    has_false_winner: bool
    ties: int
    regret: float


class SimulatedRun:
    """The trainings of one run, which all methods share. Each is sampled once.

    Args:
        model: The accuracy model, with the seed of this run.
        specs: The members of the grid.
        flops: FLOPs of each member, relative to the target.
        num_seeds: Maximum number of full trainings of a member.
    """

    def __init__(
        self,
        model: SyntheticAccuracyModel,
        specs: Sequence[ArchSpec],
        flops: Sequence[float],
        *,
        num_seeds: int,
    ) -> None:
        self.num_seeds, self.num_members = num_seeds, len(specs)
        self.flops_adjustments = np.array([SLOPE * math.log(ratio) for ratio in flops])
        self._model, self._specs, self._network_ids = (
            model,
            specs,
            [spec.network_id for spec in specs],
        )
        self.expected_accuracy = cache(self._expected_accuracy)
        self.accuracy = cache(self._accuracy)
        self._noise = replace(model, seed_effect_std=0.0).sample_noise
        self.truth = (
            np.array([self.expected_accuracy(member, EPOCHS) for member in range(len(specs))])
            - self.flops_adjustments
        )

    def _expected_accuracy(self, member: int, epochs: int) -> float:
        return self._model.expected_accuracy(self._specs[member], BASELINE, epochs)

    def _accuracy(self, member: int, seed: int, epochs: int) -> float:
        return self.expected_accuracy(member, epochs) + self._model.sample_noise(
            self._network_ids[member], epochs, seed
        )

    def continued_accuracy(self, member: int, seed: int, *, short_epochs: int) -> float:
        """The accuracy of a full training that continues a short one."""
        network_id = self._network_ids[member]
        full = self._noise(network_id, EPOCHS, seed)
        short = self._noise(network_id, short_epochs, seed)
        noise = math.sqrt(SHARED_NOISE) * short + math.sqrt(1 - SHARED_NOISE) * full
        return self.accuracy(member, seed, EPOCHS) - full + noise

    def table(self, members: Sequence[int], epochs: int) -> dict[int, list[float]]:
        """Member to its accuracies with each seed, adjusted for FLOPs."""
        return {
            member: [
                self.accuracy(member, seed, epochs) - self.flops_adjustments[member]
                for seed in range(self.num_seeds)
            ]
            for member in members
        }

    @property
    def grid_winner(self) -> int:
        means = np.array(list(self.table(range(self.num_members), EPOCHS).values())).mean(1)
        return int(means.argmax())

    def evaluate(self, budget_fraction: float, winner: int, ties: Sequence[int]) -> Outcome:
        best = int(self.truth.argmax())
        regret = float(self.truth[best] - self.truth[winner])
        return Outcome(
            budget_fraction,
            self.grid_winner in ties,
            best in ties,
            len(ties) == 1 and winner != best,
            len(ties),
            regret,
        )


def run_full_grid(run: SimulatedRun) -> Outcome:
    comparison = compare(
        {str(member): row for member, row in run.table(range(run.num_members), EPOCHS).items()}
    )
    return run.evaluate(1.0, int(comparison.winner), [int(name) for name in comparison.ties])


def run_halving(run: SimulatedRun) -> Outcome:
    remaining, epochs_spent = list(range(run.num_members)), 0
    for epochs in (1, 3, EPOCHS):
        table = run.table(remaining, epochs)
        epochs_spent += epochs * run.num_seeds * len(remaining)
        if epochs < EPOCHS:
            remaining = sorted(remaining, key=lambda member: -sum(table[member]))[
                : max(2, round(len(remaining) / 3))
            ]
    comparison = compare({str(member): row for member, row in table.items()})
    full_grid_epochs = EPOCHS * run.num_seeds * run.num_members
    return run.evaluate(
        epochs_spent / full_grid_epochs,
        int(comparison.winner),
        [int(name) for name in comparison.ties],
    )


def run_race(
    run: SimulatedRun, *, coordinates: Any, flops: Sequence[float], continues_trainings: bool
) -> Outcome:
    race = Race(
        run.num_members,
        run.num_seeds,
        EPOCHS,
        coordinates=coordinates,
        relative_flops=tuple(flops),
        slope=SLOPE,
        continues_trainings=continues_trainings,
    )
    results: dict[TrainingRun, float | None] = {}
    while rung := next_runs(race, results):
        for member, seed, epochs in rung:
            short = TrainingRun(member, seed, race.short_epochs)
            results[TrainingRun(member, seed, epochs)] = (
                run.continued_accuracy(member, seed, short_epochs=race.short_epochs)
                if epochs == EPOCHS and short in results and continues_trainings
                else run.accuracy(member, seed, epochs)
            )
    race_result = evaluate_race(race, results)
    return run.evaluate(
        race.total_epochs(results) / race.full_grid_epochs, race_result.winner, race_result.ties
    )


def print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def compare_methods(
    model: SyntheticAccuracyModel,
    name: str,
    *,
    num_members: int,
    num_seeds: int,
    model_seeds: Sequence[int],
) -> None:
    grid = farthest_point_sample(_grid(), num_members)
    specs, flops = [member.spec for member in grid], [member.ratio / 2 for member in grid]
    coordinates = tuple(
        tuple(math.log(factor) for factor in scaling_factors(spec, BASELINE)) for spec in specs
    )
    simulated_runs = [
        SimulatedRun(replace(model, model_seed=seed), specs, flops, num_seeds=num_seeds)
        for seed in model_seeds
    ]
    methods = {
        "full grid": run_full_grid,
        "halving": run_halving,
        "race, restarting": partial(
            run_race, coordinates=coordinates, flops=flops, continues_trainings=False
        ),
        "race": partial(run_race, coordinates=coordinates, flops=flops, continues_trainings=True),
    }
    for method_name, method in methods.items():
        start_time = time.process_time()
        outcomes = [method(run) for run in simulated_runs]
        mean_outcome = Outcome(*np.array(outcomes, dtype=float).mean(0))
        accuracy_cells = (
            f"{mean_outcome.budget_fraction:.1%} | {mean_outcome.keeps_grid_winner:.0%} | "
            f"{mean_outcome.keeps_best:.0%} "
            f"| {mean_outcome.has_false_winner:.0%}"
        )
        cost_cells = (
            f"{max(outcome.budget_fraction for outcome in outcomes):.1%} | "
            f"{mean_outcome.ties:.1f} | {100 * mean_outcome.regret:.3f}"
        )
        seconds = (time.process_time() - start_time) / len(simulated_runs)
        print_line(
            f"| {name} | {100 * model.noise_std:g} | {num_members} x {num_seeds} | {method_name} "
            f"| {accuracy_cells} | {cost_cells} | "
            f"{seconds:.2f} |"
        )


@cache
def _grid() -> Any:
    return make_grid(BASELINE, ScalingSection(rounding="round", grid_step=0.025, grid_phi=1))


def main(
    *,
    num_members: int,
    num_seeds: int,
    noise_stds: Sequence[float],
    num_runs: int,
    first_model_seed: int,
) -> None:
    print_line(
        "| model | noise | grid | method | epochs | keeps grid's | keeps best | false winner "
        "| max epochs | ties | regret | s per run |"
    )
    print_line("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for noise_std in noise_stds:
        for name, model in (MODELS | MISSPECIFIED_MODELS).items():
            compare_methods(
                replace(model, noise_std=noise_std),
                name,
                num_members=num_members,
                num_seeds=num_seeds,
                model_seeds=range(first_model_seed, first_model_seed + num_runs),
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--members", type=int, default=12, metavar="N", help="members of the grid (default: 12)"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=5,
        metavar="N",
        help="maximum number of full trainings of a member (default: 5)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        nargs="+",
        default=[0.002, 0.004],
        metavar="X",
        help="standard deviations of a training's accuracy, from 0 to 1 (default: 0.002 0.004)",
    )
    parser.add_argument(
        "--runs", type=int, default=100, metavar="N", help="runs per model (default: 100)"
    )
    parser.add_argument(
        "--first",
        type=int,
        default=1000,
        metavar="SEED",
        help="seed of the first model (default: 1000); the race was tuned on seeds below 100",
    )
    arguments = parser.parse_args()
    main(
        num_members=arguments.members,
        num_seeds=arguments.seeds,
        noise_stds=arguments.noise,
        num_runs=arguments.runs,
        first_model_seed=arguments.first,
    )
