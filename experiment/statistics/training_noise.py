"""Training noise: how much the accuracies of one network differ between trainings, beyond what a
seed brings to all networks alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """std: standard deviation of one training, without what its seed brings to all networks."""

    std: float
    degrees_of_freedom: int


def estimate_noise(accuracies: Sequence[Mapping[int, float]]) -> NoiseEstimate | None:
    """From the accuracies by seed of all trained networks, each listed once; None where they leave
    no degree of freedom (a single seed, a single network).

    Least squares of a mean for each network and each seed, so trainings that failed may be missing.
    """
    observations = [
        (network, seed, accuracy)
        for network, by_seed in enumerate(accuracies)
        for seed, accuracy in by_seed.items()
    ]
    seeds = sorted({seed for _, seed, _ in observations})
    design = np.zeros((len(observations), len(accuracies) + len(seeds)))
    for row, (network, seed, _) in enumerate(observations):
        design[row, network] = design[row, len(accuracies) + seeds.index(seed)] = 1
    values = np.array([accuracy for _, _, accuracy in observations])
    if not observations:
        return None
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    degrees_of_freedom = len(observations) - int(rank)
    if degrees_of_freedom <= 0:
        return None
    residuals = values - design @ solution
    std = math.sqrt(float((residuals**2).sum()) / degrees_of_freedom)
    return NoiseEstimate(std, degrees_of_freedom)
