"""Training noise: the standard deviation of a network's score between trainings, without the common
effect of a seed on all networks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """Standard deviation of one training, without the common effect of its seed."""

    std: float
    degrees_of_freedom: int


def estimate_noise(scores: Sequence[Mapping[int, float]]) -> NoiseEstimate | None:
    """Estimate the training noise by least squares, with an effect of each network and each seed.

    Args:
        scores: for each network its scores by seed. Trainings that failed may be missing.

    Returns:
        The estimate; None without degrees of freedom, as for a single seed or a single network.
    """
    observations = [
        (network, seed, score)
        for network, by_seed in enumerate(scores)
        for seed, score in by_seed.items()
    ]
    seeds = sorted({seed for _, seed, _ in observations})
    design = np.zeros((len(observations), len(scores) + len(seeds)))
    for row, (network, seed, _) in enumerate(observations):
        design[row, network] = design[row, len(scores) + seeds.index(seed)] = 1
    values = np.array([score for _, _, score in observations])
    if not observations:
        return None
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    degrees_of_freedom = len(observations) - int(rank)
    if degrees_of_freedom <= 0:
        return None
    residuals = values - design @ solution
    std = math.sqrt(float((residuals**2).sum()) / degrees_of_freedom)
    return NoiseEstimate(std, degrees_of_freedom)
