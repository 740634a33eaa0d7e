"""How far the FLOPs of a family deviate from 2^phi, by `scaling.rounding`.

    python benchmarks/family_flops.py

Each baseline of `benchmarks/simulated_races.py` is scaled in random directions. The coefficients
are those that a race would give, so that the FLOPs double with each phi on average. Prints the mean
of log2 FLOPs minus phi for each member, and the root mean square over all members.
"""

import argparse
import math
import sys
from typing import get_args

import numpy as np
from simulated_races import BASELINES

from phinas.experiment.schema.scaling import DEFAULT_PHIS
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.race.centroid import scale_to_flops
from phinas.space.scaling import DepthRounding
from phinas.space.spec import ArchSpec

_CONCENTRATION = (2.0, 2.0, 2.0)  # of the Dirichlet distribution of directions


def log_flops_deviations(
    baseline: ArchSpec, rounding: DepthRounding, num_directions: int
) -> np.ndarray:
    """log2 of the FLOPs over the baseline's, minus phi, (directions, DEFAULT_PHIS)."""
    generator = np.random.default_rng(0)
    base_flops = baseline.cost().flops
    rows = []
    for direction in generator.dirichlet(_CONCENTRATION, num_directions):
        unscaled = Coefficients(1.0, 1.0, 1.0, rounding=rounding)
        coefficients = scale_to_flops(baseline, direction, 2.0, unscaled)
        networks = [coefficients.apply(baseline, phi) for phi in DEFAULT_PHIS]
        rows.append([math.log2(network.cost().flops / base_flops) for network in networks])
    return np.array(rows) - DEFAULT_PHIS


def main(num_directions: int) -> None:
    headings = ["baseline", "rounding", *(f"phi {phi:g}" for phi in DEFAULT_PHIS), "RMS"]
    lines = [f"| {' | '.join(headings)} |", f"|---|---{'|--:' * (len(headings) - 2)}|"]
    for name, make_baseline in BASELINES.items():
        for rounding in get_args(DepthRounding):
            deviations = log_flops_deviations(make_baseline(), rounding, num_directions)
            means = (f"{mean:+.2f}" for mean in deviations.mean(0))
            rms = math.sqrt((deviations**2).mean())
            lines.append(f"| {' | '.join([name, rounding, *means, f'{rms:.2f}'])} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directions", type=int, default=40, metavar="N", help="random directions")
    main(parser.parse_args().directions)
