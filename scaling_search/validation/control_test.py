"""Is a member of the family better than its control? The difference, its interval, and what is
uncertain about it.

Two kinds of luck are in a difference of mean accuracies over the same seeds:

- of training. A seed's luck shifts all networks alike as far as it can; what is left once means
of networks and seeds are taken
  out is one deviation, pooled over all trained networks (families and controls), told by t with
  its degrees of freedom.
- of the test images, which are finite and the same for all: `trained.difference_error`. It
counts twice what of it is in the
  deviation over seeds.

What the difference in FLOPs is worth is taken off (`correction`), its own uncertainty added.
All intervals of a validation hold together with 95% (Bonferroni). A half width is the root of
the squares of the half widths of both kinds (as in Zou and Donner, "Construction of confidence
limits about effect measures", Statistics in Medicine, 2008).

Measured share of validations in which all four intervals hold the truth (`simulate` in
tests/scaling_search_tests/test_comparison.py, 400 to 1,000 validations each), their half widths
in points, and those over what they would be if both kinds of luck were known; with 2 and with 3
seeds.
In brackets: where it is not recorded which images are right. Shared: of the variance of what
decides an image what is of all networks and what of the trainings of one; else all of it is of
the trainings of one, and networks err independently.

| deviation, test images, shared   |     held, 2 |           3 | half width, 2 |         3 | over known, 2 |         3 |
|----------------------------------|------------:|------------:|--------------:|----------:|--------------:|----------:|
| 0.01, 500                        |   96% (97%) |   96% (96%) |     6.9 (7.0) | 6.3 (6.4) |     1.1 (1.1) | 1.0 (1.0) |
| 0.03, 500                        |   97% (97%) |   97% (97%) |   11.9 (12.0) | 9.1 (9.3) |     1.2 (1.3) | 1.1 (1.1) |
| 0.01, 5,000                      |   98% (98%) |   96% (96%) |     3.9 (3.9) | 3.0 (3.0) |     1.3 (1.3) | 1.1 (1.1) |
| 0.01, 5,000, controls 0.02       |   97% (97%) |   94% (95%) |     5.8 (5.8) | 4.3 (4.3) |     1.3 (1.4) | 1.1 (1.1) |
| 0.002, 5,000                     |   96% (96%) |   96% (96%) |     2.0 (2.0) | 1.9 (1.9) |     1.1 (1.1) | 1.0 (1.0) |
| 0.01, 500, 60% of all and 40%    |   97% (99%) |  96% (100%) |     5.9 (6.9) | 5.2 (6.4) |     1.1 (1.3) | 1.1 (1.3) |
| 0.01, 500, 60% of all and 20%    |  99% (100%) | 100% (100%) |     6.5 (7.9) | 5.0 (6.9) |     1.4 (1.8) | 1.2 (1.7) |
| 0.003, 500, 85% of all and 10%   |  99% (100%) |  99% (100%) |     4.3 (6.6) | 3.6 (6.2) |     1.4 (2.1) | 1.2 (2.1) |
| 0.002, 5,000, 60% of all and 20% | 100% (100%) |  99% (100%) |     1.9 (2.3) | 1.5 (2.1) |     1.4 (1.8) | 1.2 (1.8) |

The half widths stay above those of known luck where much is of single trainings: that is what
is counted twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from phinas.experiment.statistics.paired_accuracy import Trained, difference_error
from phinas.scaling_search.race.flops_adjustment import default_slope, measured_slope

Verdict = Literal["better", "worse", "tied"]
_LEAST_GROWTH = 1.25  # of FLOPs over the baseline's; less is too short a base for a slope
_DEFAULT_SLOPE_ERROR = 0.01  # relative: the default is in the middle of 0.005 to 0.044


@dataclass(frozen=True, slots=True)
class Luck:
    """deviation: of one training, beside its seed's share; freedom: degrees of it."""

    deviation: float
    freedom: int


@dataclass(frozen=True, slots=True)
class Slope:
    """Accuracy per unit of log FLOPs. training: its standard error from the luck of training, in
    deviations of one training;
    sampling: the rest of it, in accuracy."""

    value: float
    training: float
    sampling: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """behind: by how much a control is less accurate than the member at equal FLOPs; correction:
    what is taken off for more FLOPs of the member; interval, verdict (of the member): None where
    the luck of training is not known."""

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
    """From all trained networks, each given once; None where they do not tell (a single seed, a
    single network).

    Least squares of a mean for each network and each seed, so trainings that failed may be missing.
    """
    cells = [
        (place, seed, value)
        for place, network in enumerate(networks)
        for seed, value in network.accuracies.items()
    ]
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
    """Measured from the baseline to the networks of another size that have all of its seeds; else
    the default.

    others: at least one; those near the baseline in FLOPs are passed over.
    """
    if baseline is not None:
        paired = [one for one in others if one.accuracies.keys() == baseline.accuracies.keys()]
        sizes = [(one, math.log(one.flops / baseline.flops)) for one in paired]
        least = math.log(_LEAST_GROWTH)
        far = [pair for pair in sizes if pair[1] >= least] or [
            pair for pair in sizes if pair[1] <= -least
        ]
        if far:
            seeds, run = len(baseline.accuracies), abs(sum(size for _, size in far)) / len(far)
            rows = [list(one.accuracies.values()) for one, _ in far]
            value = measured_slope(
                list(baseline.accuracies.values()), rows, [math.exp(size) for _, size in far]
            )
            training = math.sqrt((1 + 1 / len(far)) / seeds) / run
            sampling = (
                difference_error([one for one, _ in far], baseline, baseline.accuracies.keys())
                / run
            )
            return Slope(value, training, sampling)
    accuracy = sum(one.accuracy for one in others) / len(others)
    return Slope(default_slope(accuracy), 0.0, _DEFAULT_SLOPE_ERROR * accuracy)


def contrast(
    member: Trained, control: Trained, *, slope: Slope, luck: Luck | None, comparisons: int
) -> Contrast | None:
    """The member against the control, over the seeds that both have; None where they have none in
    common.

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
    sampling = math.hypot(difference_error([member], control, seeds), apart * slope.sampling)
    half = math.hypot(
        float(t.ppf(quantile, luck.freedom)) * training, float(norm.ppf(quantile)) * sampling
    )
    verdict: Verdict = "better" if behind > half else "worse" if behind < -half else "tied"
    return Contrast(behind, correction, (behind - half, behind + half), verdict)
