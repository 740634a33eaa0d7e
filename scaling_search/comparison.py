"""Is a member of the family better than its control? The difference, its interval, and what is uncertain about it.

Two kinds of luck are in a difference of mean accuracies over the same seeds:

- of training. A seed's luck shifts all networks alike as far as it can; what is left once means of networks and seeds are taken
  out is one deviation, pooled over all trained networks (families and controls), told by t with its degrees of freedom.
- of the test images, which are finite and the same for all. How often two networks err on the same images is not recorded, so
  they are taken as independent binomial draws, which seeds do not average out. That is a conservative bound: networks that are
  right and wrong on the same images differ by less. It also counts twice what of it is in the deviation over seeds.

What the difference in FLOPs is worth is taken off (`correction`), its own uncertainty added. All intervals of a validation
hold together with 95% (Bonferroni). A half width is the root of the squares of the half widths of both kinds (as in Zou and
Donner, "Construction of confidence limits about effect measures", Statistics in Medicine, 2008).

Measured share of validations in which all four intervals hold the truth (`simulate` in
tests/scaling_search_tests/test_comparison.py, 400 to 1,000 validations each; images drawn for each network by itself, the worst
case), and half widths over what they would be if both kinds of luck were known, with 2 and with 3 seeds:

| one training's deviation, test images                 | held, 2 |  3   | width, 2 |  3  |
|--------------------------------------------------------|--------:|-----:|---------:|----:|
| 0.01, 500                                              |     98% |  97% |      1.1 | 1.0 |
| 0.03, 500                                              |     97% |  98% |      1.3 | 1.1 |
| 0.01, 5,000                                            |     97% |  96% |      1.3 | 1.1 |
| 0.01, 5,000, and 0.02 of the controls                  |     96% |  97% |          |     |
| 0.002, 5,000                                           |     96% |  96% |      1.0 | 1.0 |
| 0.01, 500, and 60% of what decides an image is common  |    100% | 100% |      1.2 | 1.1 |

The last row is the price of the bound: recording which images each training gets right would narrow it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from experiment.measurement import wilson_interval
from scaling_search.correction import default_slope, measured_slope

Verdict = Literal["better", "worse", "tied"]
_Z = 1.96
_LEAST_GROWTH = 1.25  # of FLOPs over the baseline's; less is too short a base for a slope
_DEFAULT_SLOPE_ERROR = 0.01  # relative: the default is in the middle of 0.005 to 0.044


@dataclass(frozen=True, slots=True)
class Trained:
    """A network and its accuracy by seed (at least one); images: of the test split."""

    flops: int
    accuracies: Mapping[int, float]
    images: int

    @property
    def accuracy(self) -> float:
        return sum(self.accuracies.values()) / len(self.accuracies)

    @property
    def sampling_error(self) -> float:
        """The standard error that the finite test split leaves, however many seeds there are; of Wilson's interval, so it is
        not 0 where every image is classified rightly."""
        low, high = wilson_interval(self.accuracy, self.images, z=_Z)
        return (high - low) / 2 / _Z


@dataclass(frozen=True, slots=True)
class Luck:
    """deviation: of one training, beside its seed's share; freedom: degrees of it."""

    deviation: float
    freedom: int


@dataclass(frozen=True, slots=True)
class Slope:
    """Accuracy per unit of log FLOPs. training: its standard error from the luck of training, in deviations of one training;
    sampling: the rest of it, in accuracy."""

    value: float
    training: float
    sampling: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """behind: by how much a control is less accurate than the member at equal FLOPs; correction: what is taken off for more
    FLOPs of the member; interval, verdict (of the member): None where the luck of training is not known."""

    behind: float
    correction: float
    interval: tuple[float, float] | None
    verdict: Verdict | None

    def to_dict(self) -> dict[str, Any]:
        """Its part of a control's row in `scaling/validation.yaml`."""
        interval = None if self.interval is None else list(self.interval)
        rounded = {"behind": self.behind, "correction": self.correction}
        return rounded | {"behind_interval": interval, "verdict": self.verdict}


def pooled_luck(networks: Sequence[Trained]) -> Luck | None:
    """From all trained networks, each given once; None where they do not tell (a single seed, a single network).

    Least squares of a mean for each network and each seed, so trainings that failed may be missing.
    """
    cells = [(place, seed, value) for place, network in enumerate(networks) for seed, value in network.accuracies.items()]
    seeds = sorted({seed for _, seed, _ in cells})
    design = np.zeros((len(cells), len(networks) + len(seeds)))
    for row, (place, seed, _) in enumerate(cells):
        design[row, place] = design[row, len(networks) + seeds.index(seed)] = 1
    values = np.array([value for _, _, value in cells])
    if not cells:
        return None
    fitted, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(cells) - int(rank)
    if freedom <= 0:
        return None
    return Luck(math.sqrt(float(((values - design @ fitted) ** 2).sum()) / freedom), freedom)


def standard_error(network: Trained, luck: Luck | None) -> float:
    """Of its mean accuracy: from training (unless that is not known) and from the test images."""
    deviation = luck.deviation if luck else 0.0
    return math.hypot(deviation / math.sqrt(len(network.accuracies)), network.sampling_error)


def slope_of(baseline: Trained | None, others: Sequence[Trained]) -> Slope:
    """Measured from the baseline to the networks of another size that have all of its seeds; else the default.

    others: at least one; those near the baseline in FLOPs are passed over.
    """
    if baseline is not None:
        paired = [one for one in others if one.accuracies.keys() == baseline.accuracies.keys()]
        sizes = [(one, math.log(one.flops / baseline.flops)) for one in paired]
        least = math.log(_LEAST_GROWTH)
        far = [pair for pair in sizes if pair[1] >= least] or [pair for pair in sizes if pair[1] <= -least]
        if far:
            seeds, run = len(baseline.accuracies), abs(sum(size for _, size in far)) / len(far)
            rows = [list(one.accuracies.values()) for one, _ in far]
            value = measured_slope(list(baseline.accuracies.values()), rows, [math.exp(size) for _, size in far])
            training = math.sqrt((1 + 1 / len(far)) / seeds) / run
            sampling = math.hypot(baseline.sampling_error, max(one.sampling_error for one, _ in far)) / run
            return Slope(value, training, sampling)
    accuracy = sum(one.accuracy for one in others) / len(others)
    return Slope(default_slope(accuracy), 0.0, _DEFAULT_SLOPE_ERROR * accuracy)


def contrast(member: Trained, control: Trained, *, slope: Slope, luck: Luck | None, comparisons: int) -> Contrast | None:
    """The member against the control, over the seeds that both have; None where they have none in common.

    comparisons: how many are made in all, which share the 5% of being wrong.
    """
    from scipy.stats import norm, t

    seeds = member.accuracies.keys() & control.accuracies.keys()
    if not seeds:
        return None
    lead = sum(member.accuracies[seed] - control.accuracies[seed] for seed in seeds) / len(seeds)
    apart = math.log(member.flops / control.flops)
    correction = slope.value * apart
    behind = lead - correction
    if luck is None:
        return Contrast(behind, correction, None, None)
    quantile = 1 - 0.025 / comparisons
    training = luck.deviation * math.hypot(math.sqrt(2 / len(seeds)), apart * slope.training)
    sampling = math.hypot(member.sampling_error, control.sampling_error, apart * slope.sampling)
    half = math.hypot(float(t.ppf(quantile, luck.freedom)) * training, float(norm.ppf(quantile)) * sampling)
    verdict: Verdict = "better" if behind > half else "worse" if behind < -half else "tied"
    return Contrast(behind, correction, (behind - half, behind + half), verdict)
