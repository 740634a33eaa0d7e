"""Compare rules that take alpha, beta and gamma from a race, in simulations.

    python benchmarks/coefficient_rules.py
    python benchmarks/coefficient_rules.py --random 24 --noise 0.3 --races 10

Accuracies come from the surfaces in `benchmarks/accuracy_surfaces.py`, plus training noise. Each
race has the members, the budget and the code of `phinas scale`. Its coefficients make a network at
phi 3, with 8 times the baseline's FLOPs, and at phi 5, with 32 times. The loss of a rule
(`benchmarks/direction_rules.py`) is the accuracy of the best direction of a fine grid minus that of
its network, in points, both at equal measured FLOPs. The lines of single surfaces are at phi 3.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from accuracy_surfaces import SURFACES, Surface, random_surfaces
from direction_rules import FORMER, PROPOSED, RULES, RaceData, all_directions
from simulated_races import BASELINES, make_setting, run_race

from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.race.centroid import scaling_direction
from phinas.scaling_search.race.racing import evaluate_race
from phinas.scaling_search.race.synthetic_accuracy import scaling_factors
from phinas.space.scaling import DepthRounding
from phinas.space.spec import ArchSpec

Floats = npt.NDArray[np.float64]
SettingKey = tuple[str, float, DepthRounding]  # the arguments of `make_setting`
PHIS = (3.0, 5.0)  # of the networks that are compared, besides the race's own


def accuracy_at_flops(
    surface: Surface, spec: ArchSpec, baseline: ArchSpec, log_flops: float
) -> float:
    """Accuracy in points, moved along the network's direction to `log_flops` above the
    baseline's.
    """
    depth, width, resolution = scaling_factors(spec, baseline)
    exponent = log_flops / math.log(spec.cost().flops / baseline.cost().flops)
    multiples = np.array([depth, width**2, resolution**2]) ** exponent
    return float(surface(*multiples))


@cache
def make_network(setting_key: SettingKey, direction: tuple[float, ...], phi: float) -> ArchSpec:
    """The rounded network in a direction with about flops_multiple^phi times the FLOPs."""
    setting = make_setting(*setting_key)
    section, baseline = setting.section, setting.baseline
    log_flops, length = phi * math.log(section.flops_multiple), 1.0
    for _ in range(2):
        depth, width, resolution = np.exp(
            length * log_flops * np.array(direction) / (1, 2, 2)
        ).tolist()
        coefficients = Coefficients(
            depth, width, resolution, section.divisor, section.depth_rounding
        )
        network = coefficients.apply(baseline, 1.0)
        length *= log_flops / math.log(network.cost().flops / baseline.cost().flops)
    return network


class Losses:
    """Losses of directions at one phi, for one surface.

    Args:
        setting_key: The setting of the race.
        phi: Of the networks that are compared.
        surface: The accuracy.
    """

    def __init__(self, setting_key: SettingKey, phi: float, surface: Surface) -> None:
        self._key, self._phi, self._surface = setting_key, phi, surface
        setting = make_setting(*setting_key)
        self._baseline = setting.baseline
        self._log_flops = phi * math.log(setting.section.flops_multiple)
        self._best = max(self._accuracy(direction) for direction in all_directions())

    def of(self, direction: Floats) -> float:
        return self._best - self._accuracy(direction)

    def _accuracy(self, direction: Floats) -> float:
        key = tuple(np.round(direction, 3).tolist())
        spec = make_network(self._key, key, self._phi)
        return accuracy_at_flops(self._surface, spec, self._baseline, self._log_flops)


class Cell(NamedTuple):
    """The means over the races of one setting.

    Attributes:
        losses: Of each rule at each phi, in points, (phis, rules).
        standard_errors: Of the loss of the proposed rule minus that of the former one, (phis,).
        ties: Size of the tie set.
        cost: Of the trainings of a race, in full trainings of the baseline.
    """

    losses: Floats
    standard_errors: Floats
    ties: float
    cost: float


def simulate(setting_key: SettingKey, surface: Surface, noise: float, seeds: Sequence[int]) -> Cell:
    """Simulate races of one setting; the losses are at the phi of the race and at PHIS."""
    setting = make_setting(*setting_key)
    grid_phi = setting.section.compared_phi
    boxes = [member.to_coefficients(setting.section) for member in setting.members]
    midpoints = np.array([scaling_direction((row.alpha, row.beta, row.gamma)) for row in boxes])
    effective = np.array(
        [
            scaling_direction(scaling_factors(member.spec, setting.baseline))
            for member in setting.members
        ]
    )
    losses = [Losses(setting_key, phi, surface) for phi in (grid_phi, *PHIS)]
    rows, ties, costs = [], [], []
    for seed in seeds:
        race, results = run_race(setting, surface, noise, seed)
        data = RaceData(midpoints, effective, evaluate_race(race, results), grid_phi)
        directions = [rule(data) for rule in RULES.values()]
        rows.append([[loss.of(direction) for direction in directions] for loss in losses])
        ties.append(len(data.result.ties))
        epochs = sum(
            race.epochs_to_train(run, results) * setting.members[run.member].ratio
            for run in results
        )
        costs.append(epochs / race.epochs)
    table, names = np.array(rows), list(RULES)
    differences = table[:, :, names.index(PROPOSED)] - table[:, :, names.index(FORMER)]
    return Cell(
        table.mean(0),
        differences.std(0) / math.sqrt(len(table)),
        float(np.mean(ties)),
        float(np.mean(costs)),
    )


def print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def print_row(name: str, phi: int, cells: Sequence[Cell]) -> None:
    """A line of the table: means over cells.

    Args:
        phi: Position of the phi of the losses.
    """
    losses = np.mean([cell.losses[phi] for cell in cells], axis=0)
    errors = np.array([cell.standard_errors[phi] for cell in cells])
    error = math.sqrt(float((errors**2).sum())) / len(cells)
    ties, cost = (
        float(np.mean(values)) for values in zip(*((c.ties, c.cost) for c in cells), strict=True)
    )
    columns = [name, *(f"{loss:.2f}" for loss in losses), f"{error:.2f}"]
    print_line(f"| {' | '.join(columns)} | {ties:.1f} | {cost:.0f} |")


def main(
    surfaces: Mapping[str, Surface],
    *,
    baselines: Sequence[str],
    grid_phis: Sequence[float],
    noises: Sequence[float],
    num_races: int,
    rounding: DepthRounding,
) -> None:
    headings = ["setting", *RULES, "standard error", "ties", "cost"]
    print_line(f"| {' | '.join(headings)} |\n|---{'|--:' * (len(headings) - 1)}|")
    cells: dict[tuple[str, float], list[Cell]] = {}
    for baseline_name in baselines:
        for grid_phi in grid_phis:
            for name, surface in surfaces.items():
                new_cells = [
                    simulate((baseline_name, grid_phi, rounding), surface, noise, range(num_races))
                    for noise in noises
                ]
                cells.setdefault((baseline_name, grid_phi), []).extend(new_cells)
                print_row(f"{baseline_name}, grid_phi {grid_phi:g}, {name}", 1, new_cells)
    for position in range(1 + len(PHIS)):
        for (baseline_name, grid_phi), group in cells.items():
            phi = (grid_phi, *PHIS)[position]
            title = f"mean at phi {phi:g}: {baseline_name}, grid_phi {grid_phi:g}"
            print_row(title, position, group)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--races", type=int, default=40, metavar="N", help="races of each setting")
    parser.add_argument(
        "--grid-phi",
        type=float,
        nargs="+",
        default=[1.0, 1.5, 2.0],
        metavar="PHI",
        help="values of scaling.grid_phi",
    )
    parser.add_argument(
        "--noise",
        type=float,
        nargs="+",
        default=[0.2, 0.4],
        metavar="X",
        help="standard deviations of one training in points",
    )
    parser.add_argument(
        "--baselines",
        nargs="+",
        default=list(BASELINES),
        choices=list(BASELINES),
        metavar="NAME",
        help="baselines",
    )
    parser.add_argument(
        "--rounding",
        default="balanced",
        choices=["ceil", "round", "balanced"],
        help="scaling.rounding",
    )
    parser.add_argument(
        "--random", type=int, default=0, metavar="N", help="this many random surfaces instead"
    )
    parser.add_argument("--random-seed", type=int, default=2031, help="seed of these surfaces")
    arguments = parser.parse_args()
    main(
        random_surfaces(arguments.random, arguments.random_seed) if arguments.random else SURFACES,
        baselines=arguments.baselines,
        grid_phis=arguments.grid_phi,
        noises=arguments.noise,
        num_races=arguments.races,
        rounding=arguments.rounding,
    )
