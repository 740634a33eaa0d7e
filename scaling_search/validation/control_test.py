"""Compare a member of the family with a control: the difference of their scores, and its interval.

A difference of mean scores over the same seeds has two sources of uncertainty:

- training noise. A seed shifts all networks alike as far as it can, so the noise is that of the
  differences between both networks with the same seed. Two or three differences do not show it
  well, and networks are not equally noisy. So their variance is averaged with that of the residuals
  of all trained networks (families and controls), which counts as `_POOLED_DEGREES_OF_FREEDOM`
  differences (Student's t with the sum of both degrees of freedom; Smyth, "Linear models and
  empirical Bayes methods", 2004).
- test-set sampling error. The test images are finite, and the same for all networks
  (`paired_scores.difference_standard_error`). The part of it that is in the deviation over seeds
  counts twice.

The score that the difference in FLOPs is worth is subtracted (`flops_adjustment`), and its own
uncertainty is added: a slope that is measured from the baseline may be half as large, or half as
large again, at the FLOPs that are compared. All intervals of a validation hold together with 95%
(Bonferroni). A half width is the root of the squares of the half widths of both sources (as in Zou
and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine,
2008).

Measured for accuracies (`simulate` in tests/scaling_search_tests/test_control_test.py, 150 or 200
validations each): how many of the validations have the truth in all four intervals, the half width
in points, and the half width over that for known errors; with 2 and with 3 seeds. In brackets:
where it is not recorded which images are correct. Two percentages: how much of the variance of what
decides an image all networks share, and how much the trainings of one network share. Without them
the trainings of one network share all of it, and networks err independently. Seeds 0.04 (0.3): the
deviation of the effect of a seed, and that of the networks' loadings of it around 1. Power law: of
the error over FLOPs, whose slope differs between the baseline and the controls.

|deviation, images, shared    |   coverage|    3 seeds| half width|  3 seeds|over known|  3 seeds|
|-----------------------------|----------:|----------:|----------:|--------:|---------:|--------:|
|0.01, 500                    |  98% (98%)|  98% (98%)|  7.4 (7.5)|6.6 (6.7)|1.2 (1.2)|1.1 (1.1)|
|0.03, 500                    |  98% (98%)|  98% (98%)|13.9 (14.0)|10.9 (11.1)|1.4 (1.4)|1.3 (1.3)|
|0.01, 5,000                  |  99% (99%)|  97% (97%)|  4.6 (4.6)|3.5 (3.6)|1.5 (1.5)|1.3 (1.3)|
|0.01, 5,000, controls 0.02   |  97% (97%)|  99% (99%)|  7.0 (7.0)|5.2 (5.2)|1.6 (1.6)|1.4 (1.4)|
|0.01, 5,000, member 0.02     |  96% (96%)|  95% (95%)|  5.7 (5.7)|4.4 (4.4)|1.3 (1.3)|1.1 (1.1)|
|0.01, 5,000, member 0.03     |  92% (92%)|  93% (94%)|  7.0 (7.0)|5.4 (5.4)|1.2 (1.2)|1.0 (1.1)|
|0.01, 5,000, seeds 0.04 (0.3)|  97% (97%)|  99% (99%)|  6.2 (6.3)|4.9 (4.9)|1.5 (1.5)|1.3 (1.3)|
|0.003, 5,000, power law      |  98% (98%)|  97% (97%)|  2.4 (2.4)|2.2 (2.2)|1.1 (1.1)|1.0 (1.0)|
|0.002, 5,000                 |  97% (97%)|  97% (97%)|  2.1 (2.1)|2.0 (2.0)|1.1 (1.1)|1.1 (1.1)|
|0.01, 500, 60% and 40%       | 98% (100%)| 98% (100%)|  6.5 (7.4)|5.7 (6.8)|1.2 (1.4)|1.1 (1.4)|
|0.01, 500, 60% and 20%       |100% (100%)| 98% (100%)|  7.4 (8.7)|5.8 (7.5)|1.6 (1.9)|1.4 (1.9)|
|0.003, 500, 85% and 10%      |100% (100%)|100% (100%)|  4.8 (6.9)|4.0 (6.5)|1.5 (2.1)|1.3 (2.1)|

With one deviation for all networks instead of own ones, intervals are a fifth narrower. They then
hold in 82 to 91% where the member has twice or three times the deviation, and in 92% with seeds
0.04. A member with three times the deviation of all others is the limit: 92%.

The half widths stay above those for known errors where single trainings decide much: that part is
counted twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from phinas.experiment.artifacts.validation_file import ControlComparison, ControlVerdict
from phinas.experiment.statistics.intervals import combined_half_width
from phinas.experiment.statistics.paired_scores import NetworkScore, difference_standard_error
from phinas.experiment.statistics.training_noise import NoiseEstimate
from phinas.scaling_search.race.flops_adjustment import default_slope, measured_slope

_MIN_FLOPS_RATIO = 1.25  # of FLOPs over the baseline's; less is too short a base for a slope
_DEFAULT_SLOPE_ERROR = 0.01  # relative: the default is in the middle of 0.005 to 0.044
_RELATIVE_SLOPE_ERROR = 0.5  # of a measured slope, since the curve of scores is no straight line
_POOLED_DEGREES_OF_FREEDOM = 3


@dataclass(frozen=True, slots=True)
class SlopeEstimate:
    """Score per unit of log FLOPs, with its standard error in two parts.

    Args:
        value: the slope.
        training_error: from training noise, in standard deviations of one training.
        sampling_error: the rest, in units of the score.
    """

    value: float
    training_error: float
    sampling_error: float


def standard_error(network: NetworkScore, noise: NoiseEstimate | None) -> float:
    """The standard error of a network's mean score: training noise (unless that is unknown) and
    test-set sampling error.
    """
    noise_std = noise.std if noise else 0.0
    return math.hypot(noise_std / math.sqrt(len(network.score_by_seed)), network.sampling_error)


def estimate_slope(
    baseline: NetworkScore | None, networks: Sequence[NetworkScore]
) -> SlopeEstimate:
    """Score per unit of log FLOPs, measured from the baseline to larger networks, or else to
    smaller ones.

    Args:
        baseline: None, or without networks of another size: the slope is the default.
        networks: at least one. Those of about the baseline's FLOPs, and those that lack one of its
            seeds, are skipped.
    """
    if baseline is not None:
        seeds = baseline.score_by_seed.keys()
        log_ratios = [
            (network, math.log(network.flops / baseline.flops))
            for network in networks
            if network.score_by_seed.keys() == seeds
        ]
        min_log_ratio = math.log(_MIN_FLOPS_RATIO)
        distant = [pair for pair in log_ratios if pair[1] >= min_log_ratio] or [
            pair for pair in log_ratios if pair[1] <= -min_log_ratio
        ]
        if distant:
            mean_log_ratio = abs(sum(log_ratio for _, log_ratio in distant)) / len(distant)
            value = measured_slope(
                list(baseline.score_by_seed.values()),
                [list(network.score_by_seed.values()) for network, _ in distant],
                [math.exp(log_ratio) for _, log_ratio in distant],
            )
            training_error = math.sqrt((1 + 1 / len(distant)) / len(seeds)) / mean_log_ratio
            sampling_error = difference_standard_error(
                [network for network, _ in distant], baseline, seeds
            )
            rest = math.hypot(sampling_error / mean_log_ratio, _RELATIVE_SLOPE_ERROR * value)
            return SlopeEstimate(value, training_error, rest)
    score = sum(network.score for network in networks) / len(networks)
    return SlopeEstimate(default_slope(score), 0.0, _DEFAULT_SLOPE_ERROR * score)


def compare_with_control(
    member: NetworkScore,
    control: NetworkScore,
    *,
    slope: SlopeEstimate,
    noise: NoiseEstimate | None,
    comparisons: int,
) -> ControlComparison | None:
    """Compare a member with a control, over the seeds that both have.

    Args:
        member: of the family.
        control: a network of about the same FLOPs.
        slope: what a difference in FLOPs is worth.
        noise: deviation of one training, pooled over networks; None: unknown, so there is no
            interval.
        comparisons: comparisons of the validation, which share the 5% of being wrong.

    Returns:
        None where they have no seed in common.
    """
    seeds = member.score_by_seed.keys() & control.score_by_seed.keys()
    if not seeds:
        return None
    differences = [member.score_by_seed[seed] - control.score_by_seed[seed] for seed in seeds]
    raw_difference = sum(differences) / len(differences)
    log_ratio = math.log(member.flops / control.flops)
    flops_adjustment = slope.value * log_ratio
    difference = raw_difference - flops_adjustment
    if noise is None:
        return ControlComparison(
            difference=difference, flops_adjustment=flops_adjustment, interval=None, verdict=None
        )
    noise_of_pair = _shrink_to_pooled(differences, noise)
    training_error = math.hypot(
        noise_of_pair.std / math.sqrt(len(differences)),
        noise.std * log_ratio * slope.training_error,
    )
    sampling_error = math.hypot(
        difference_standard_error([member], control, seeds), log_ratio * slope.sampling_error
    )
    half_width = combined_half_width(
        training_error,
        noise_of_pair.degrees_of_freedom,
        sampling_error,
        comparisons=comparisons,
    )
    verdict: ControlVerdict = "tied"
    if abs(difference) > half_width:
        verdict = "better" if difference > 0 else "worse"
    interval = (difference - half_width, difference + half_width)
    return ControlComparison(
        difference=difference,
        flops_adjustment=flops_adjustment,
        interval=interval,
        verdict=verdict,
    )


def _shrink_to_pooled(differences: Sequence[float], noise: NoiseEstimate) -> NoiseEstimate:
    """The deviation of one difference: their own, averaged with the pooled one.

    Args:
        differences: of two networks, by seed.
        noise: deviation of one training, pooled over all networks.
    """
    mean = sum(differences) / len(differences)
    pooled_degrees_of_freedom = min(_POOLED_DEGREES_OF_FREEDOM, noise.degrees_of_freedom)
    degrees_of_freedom = pooled_degrees_of_freedom + len(differences) - 1
    sum_of_squares = pooled_degrees_of_freedom * 2 * noise.std**2 + sum(
        (difference - mean) ** 2 for difference in differences
    )
    return NoiseEstimate(math.sqrt(sum_of_squares / degrees_of_freedom), degrees_of_freedom)
