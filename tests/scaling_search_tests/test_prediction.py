"""Which members have a predicted score, and where the curve ends."""

import pytest

from phinas.scaling_search.validation.curve import CurvePoint, fit_curve
from phinas.scaling_search.validation.prediction import make_band, predict_member


def curve(*scores, error=0.004):
    return fit_curve(
        [CurvePoint(1e6 * 2**index, score, error) for index, score in enumerate(scores)]
    )


PRECISE = curve(0.5, 0.55, 0.59, 0.62)


@pytest.mark.parametrize(
    ("flops", "fits_images", "missing"),
    [
        (16e6, True, None),
        (64e6, True, None),
        (65e6, True, "extrapolation"),
        (600e6, True, "extrapolation"),
        (16e6, False, "image_size"),
    ],
)
def test_a_prediction_is_made_up_to_8_times_the_largest_trained_network(
    flops, fits_images, missing
):
    result = predict_member(PRECISE, flops, fits_images=fits_images)
    assert result.missing == missing
    assert (result.prediction is None) == (missing is not None)
    if result.prediction is not None:
        assert result.prediction == PRECISE.predict(flops)


@pytest.mark.parametrize(
    ("scores", "error", "missing"),
    [
        ((0.974, 0.976, 0.98), 0.008, "wide_interval"),  # as wide as all that is left to 100%
        ((0.72, 0.74, 0.75), 0.012, None),
        ((0.72, 0.74, 0.75), 0.05, "wide_interval"),
    ],
)
def test_an_interval_of_more_than_half_the_range_above_the_smallest_member_is_no_prediction(
    scores, error, missing
):
    fitted = curve(*scores, error=error)
    prediction = fitted.predict(8e6)
    is_wide = prediction.high - prediction.low > 0.5 * (1 - scores[0])
    assert is_wide == (missing is not None)
    assert predict_member(fitted, 8e6, fits_images=True).missing == missing


def test_the_curve_ends_at_the_largest_member_with_a_score():
    band = make_band(PRECISE, [20e6, 40e6])
    assert band[0].flops == pytest.approx(1e6)
    assert band[-1].flops == pytest.approx(40e6)
    assert make_band(PRECISE, [])[-1].flops == pytest.approx(8e6)
    assert make_band(PRECISE, [2e6])[-1].flops == pytest.approx(8e6)
