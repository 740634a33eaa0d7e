"""Which members that were not trained have a predicted score.

A prediction is left out where it says little. Its 95% interval may be wide: without any curve, a
larger network would be expected between the score of the smallest trained member and 1, and an
interval of more than half that range hardly narrows it. Or it may lie too far beyond the trained
members, and its width does not show that: if the true law is not the assumed one, but close to it
(logistic in log FLOPs; see `curve`), the interval holds the true score in two of three simulations
at 8 times the FLOPs of the largest trained member, in half of them at 16 times, and in fewer
beyond.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phinas.experiment.artifacts.validation_file import MissingPrediction, Prediction
from phinas.scaling_search.validation.curve import ScoreCurve

MAX_EXTRAPOLATION = 8.0  # FLOPs over those of the largest trained network
MAX_WIDTH = 0.5  # of an interval, over the range from the smallest trained member's score to 1
_NUM_BAND_POINTS = 60


@dataclass(frozen=True, slots=True)
class MemberPrediction:
    """The prediction for a member that was not trained.

    Attributes:
        prediction: None where none is made.
        missing: Why none is made; None where one is.
    """

    prediction: Prediction | None
    missing: MissingPrediction | None


def predict_member(curve: ScoreCurve, flops: float, *, fits_images: bool) -> MemberPrediction:
    """The score of a member that was not trained, where the curve says enough about it.

    Args:
        curve: Fitted to the trained members.
        flops: Of the member.
        fits_images: Whether the images are as large as its resolution. Enlarged images are not on
            the curve.
    """
    prediction = curve.predict(flops)
    missing: MissingPrediction | None = None
    if not fits_images:
        missing = "image_size"
    elif prediction.extrapolation > MAX_EXTRAPOLATION:
        missing = "extrapolation"
    elif prediction.high - prediction.low > MAX_WIDTH * _score_range(curve):
        missing = "wide_interval"
    return MemberPrediction(None if missing else prediction, missing)


def make_band(curve: ScoreCurve, predicted_flops: Sequence[float]) -> list[Prediction]:
    """The curve itself, evenly in log FLOPs from the smallest trained member to the largest member
    that is trained or predicted.

    Args:
        curve: Fitted to the trained members.
        predicted_flops: FLOPs of the members with a prediction.
    """
    trained_flops = [point.flops for point in curve.points]
    max_flops = max([*trained_flops, *predicted_flops])
    return [
        curve.band(float(flops))
        for flops in np.geomspace(min(trained_flops), max_flops, _NUM_BAND_POINTS)
    ]


def _score_range(curve: ScoreCurve) -> float:
    """From the score of the smallest trained member to 1."""
    return 1 - min(curve.points, key=lambda point: point.flops).score
