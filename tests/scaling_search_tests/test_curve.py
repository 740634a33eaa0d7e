"""The score-FLOPs curve: coverage under its assumption and under others, and too few points."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from phinas.scaling_search.validation.curve import CurvePoint, count_sizes, fit_curve
from phinas.scaling_search.validation.prediction import MAX_EXTRAPOLATION

SIZES = np.array([1.0, 1.5, 2.0, 3.0, 5.0])
ERROR = 0.01

# Accuracy over FLOPs in units of the smallest network's.
CURVES: dict[str, Callable[[float], float]] = {
    "a power law with a floor": lambda x: 1 - (0.35 * x**-0.25 + 0.08),
    "nearly at its floor": lambda x: 1 - (0.02 * x**-0.3 + 0.4),
    "a power law without a floor": lambda x: 1 - 0.3 * x**-0.1,
    "steep": lambda x: 1 - (0.3 * x**-0.8 + 0.05),
    "logistic in log FLOPs": lambda x: 1 / (1 + np.exp(-(0.4 + 0.35 * np.log(x)))),
    "a peak at 3.5 times": lambda x: 0.7 + 0.05 * np.log(x) - 0.02 * np.log(x) ** 2,
}


def simulate(
    score_of,
    *,
    runs,
    residual_std=0.0,
    sizes=SIZES,
    error=ERROR,
    relative_flops=(2.5, 10.0, 40.0),
    seed=0,
):
    """Simulate predictions.

    Args:
        score_of: The true curve.
        runs: Number of simulations.
        residual_std: Standard deviation of networks from the curve.
        sizes: FLOPs of the trained networks, in units of the smallest.
        error: Standard error of a score.
        relative_flops: FLOPs of the predicted networks, in the same unit.
        seed: Seed of the noise.

    Returns:
        For each predicted network, the fraction of runs whose 95% interval contains its accuracy,
        and the mean width of the interval.
    """
    generator = np.random.default_rng(seed)
    coverage, widths = np.zeros((runs, len(relative_flops))), np.zeros((runs, len(relative_flops)))
    for run in range(runs):
        noise = np.hypot(residual_std, error) * generator.standard_normal(len(sizes))
        curve = fit_curve(
            [
                CurvePoint(x * 1e6, float(score_of(x)) + e, error)
                for x, e in zip(sizes, noise, strict=True)
            ],
            seed=run,
        )
        for index, x in enumerate(relative_flops):
            prediction = curve.predict(x * 1e6)
            coverage[run, index] = (
                prediction.low
                <= score_of(x) + residual_std * generator.standard_normal()
                <= prediction.high
            )
            widths[run, index] = prediction.high - prediction.low
    return coverage.mean(0), widths.mean(0)


@pytest.mark.parametrize("name", list(CURVES)[:4])
def test_the_interval_has_its_coverage_under_the_assumed_curve_and_is_narrow(name):
    coverage, widths = simulate(CURVES[name], runs=60)
    assert min(coverage) >= 0.9
    # inside the range: the points by themselves have 4 standard errors
    assert widths[0] < 5 * ERROR
    assert widths[2] < 0.15


def test_the_interval_nearly_has_its_coverage_where_networks_scatter():
    coverage, _ = simulate(CURVES["a power law with a floor"], runs=60, residual_std=ERROR)
    assert min(coverage) >= 0.85


def test_an_extrapolation_fails_under_another_curve_as_documented():
    coverage, _ = simulate(CURVES["a peak at 3.5 times"], runs=20)
    assert coverage[0] >= 0.9
    assert coverage[2] <= 0.1


def test_beyond_8_times_the_interval_is_wrong_too_often_under_a_law_close_to_the_assumed_one():
    multiples = np.array([2.0, MAX_EXTRAPOLATION, 4 * MAX_EXTRAPOLATION])
    coverage, widths = simulate(
        CURVES["logistic in log FLOPs"], runs=60, relative_flops=tuple(multiples * SIZES[-1])
    )
    assert coverage[0] >= 0.85
    assert coverage[1] >= 0.5
    assert coverage[2] <= 0.6
    assert widths[2] < 2 * widths[1]  # it does not show


@pytest.mark.parametrize("num_trained", [3, 4, 5, 6])
def test_published_scores_of_larger_efficientnets_are_in_the_predicted_intervals(
    num_trained,
):
    gigaflops = [0.3858, 0.6868, 0.9936, 1.827, 4.394, 10.27, 19.07, 37.75]
    top_1 = [0.771, 0.791, 0.801, 0.816, 0.829, 0.836, 0.840, 0.843]  # arXiv:1905.11946, table 2
    members = [
        CurvePoint(size * 1e9, score, 0.002) for size, score in zip(gigaflops, top_1, strict=True)
    ]
    curve = fit_curve(members[:num_trained])
    for member in members[num_trained:]:
        prediction = curve.predict(member.flops)
        assert prediction.low < member.score < prediction.high


@pytest.mark.parametrize("count", [3, 5, 8])
def test_an_interval_widens_with_the_distance_from_the_points(count):
    flops = [1e6 * 1.6**index for index in range(count)]
    curve = fit_curve(
        [CurvePoint(each, 0.5 + 0.02 * index, ERROR) for index, each in enumerate(flops)]
    )
    for predict in (curve.band, curve.predict):
        widths = [
            prediction.high - prediction.low
            for prediction in (predict(flops[-1] * factor) for factor in (1, 2, 4, 16, 64))
        ]
        assert widths == sorted(widths)
        assert widths[-1] > 2 * widths[0]
        assert predict(flops[0] / 16).high - predict(flops[0] / 16).low > widths[0]


def test_a_prediction_has_its_interval_and_its_extrapolation():
    curve = fit_curve(
        [CurvePoint(1e6, 0.5, ERROR), CurvePoint(2e6, 0.55, ERROR), CurvePoint(4e6, 0.58, ERROR)]
    )
    prediction = curve.predict(8e6)
    assert (prediction.flops, prediction.extrapolation) == (8e6, 2.0)
    assert prediction.low < prediction.score < prediction.high
    assert prediction.score > 0.56
    band = curve.band(8e6)
    assert prediction.low < band.low < band.high < prediction.high


def test_the_curve_goes_through_points_without_noise():
    score_of = CURVES["a power law with a floor"]
    curve = fit_curve([CurvePoint(x * 1e6, score_of(x), 1e-4) for x in (1, 2, 4, 8, 16)])
    for x in (1, 3, 16):
        assert curve.band(x * 1e6).score == pytest.approx(score_of(x), abs=2e-3)
    record = curve.to_record([])
    assert record.b.interval[0] < 0.25 < record.b.interval[1]
    assert record.c.interval[0] <= 0.08 <= record.c.interval[1]


def test_scores_without_noise_are_fitted_too():
    curve = fit_curve(
        [CurvePoint(1e6, 0.9, 0.0), CurvePoint(2e6, 1.0, 0.0), CurvePoint(3e6, 1.0, 0.0)]
    )
    assert 0.9 <= curve.predict(4e6).score <= 1


def test_a_tighter_standard_error_gives_a_tighter_curve():
    def width(error):
        curve = fit_curve([CurvePoint(1e6 * x, 0.5 + 0.05 * np.log(x), error) for x in SIZES])
        prediction = curve.predict(3e6)
        return prediction.high - prediction.low

    assert width(0.002) < width(0.01) < width(0.03)


def test_networks_off_any_curve_widen_the_interval():
    smooth = [0.50, 0.53, 0.55, 0.57, 0.59]
    irregular = [0.50, 0.56, 0.52, 0.60, 0.56]
    widths, residuals = [], []
    for scores in (smooth, irregular):
        curve = fit_curve(
            [CurvePoint(x * 1e6, y, 0.005) for x, y in zip(SIZES, scores, strict=True)]
        )
        prediction = curve.predict(2.5e6)
        widths.append(prediction.high - prediction.low)
        residuals.append(curve.to_record([]).residual)
    assert widths[1] > 2 * widths[0]
    assert residuals[1] > 4 * residuals[0]


def test_the_same_points_give_the_same_curve_and_seeds_hardly_matter():
    points = [CurvePoint(x * 1e6, 0.5 + 0.05 * np.log(x), ERROR) for x in SIZES]
    first, repeated, other = (fit_curve(points, seed=seed).predict(2e7) for seed in (0, 0, 1))
    assert first == repeated
    assert first.low == pytest.approx(other.low, abs=0.2 * (first.high - first.low))


@pytest.mark.parametrize("sizes", [[], [1e6], [1e6, 2e6], [1e6, 1e6, 2e6]])
def test_without_three_different_sizes_there_is_no_curve(sizes):
    points = [CurvePoint(size, 0.5, ERROR) for size in sizes]
    assert count_sizes(points) == len(set(sizes))
    with pytest.raises(ValueError, match=f"3 different FLOPs are needed, not {len(set(sizes))}"):
        fit_curve(points)


@pytest.mark.parametrize(
    "invalid_point",
    [
        CurvePoint(0, 0.5, ERROR),
        CurvePoint(1e6, 50.0, ERROR),
        CurvePoint(1e6, 0.5, float("nan")),
        CurvePoint(1e6, 0.5, -1),
    ],
)
def test_points_out_of_range_are_refused(invalid_point):
    with pytest.raises(ValueError, match="the score from 0 to 1"):
        fit_curve(
            [
                invalid_point,
                CurvePoint(2e6, 0.5, ERROR),
                CurvePoint(3e6, 0.5, ERROR),
                CurvePoint(4e6, 0.5, ERROR),
            ]
        )


def test_a_fit_takes_less_than_fifty_milliseconds():
    points = [CurvePoint(2.0**index * 1e6, 0.5 + 0.02 * index, ERROR) for index in range(8)]
    fit_curve(points)  # the first one imports scipy.special
    best = min(_timed(points) for _ in range(5))
    assert best < 0.05


def _timed(points):
    start_time = time.process_time()
    fit_curve(points)
    return time.process_time() - start_time
