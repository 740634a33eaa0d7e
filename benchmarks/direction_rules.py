"""Rules that take the direction of alpha, beta and gamma from a race, for
`benchmarks/coefficient_rules.py`.

A direction is the fractions of log FLOPs that depth, width and resolution get
(`phinas.scaling_search.race.centroid`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from phinas.scaling_search.race.centroid import family_direction, published_direction
from phinas.scaling_search.race.race import RaceResult

Floats = npt.NDArray[np.float64]
_DIRECTION_STEP = 0.05
_RIDGE = 0.01  # of the tilt of prior weights, so that they exist for any center


@dataclass(frozen=True)
class RaceData:
    """What a rule may use.

    Attributes:
        midpoints: Directions of the middles of the members' boxes, (members, 3).
        effective: Directions of the members' numbers of blocks, mean widths and resolutions,
            (members, 3).
        result: Of the race.
        grid_phi: phi of the members.
    """

    midpoints: Floats
    effective: Floats
    result: RaceResult
    grid_phi: float

    @property
    def probabilities(self) -> Floats:
        """Of each member, to be the best."""
        values = np.array([row.probability_of_best for row in self.result.member_results])
        return np.asarray(values / values.sum())


def _prior_weighted_centroid(data: RaceData) -> Floats:
    """The weights are the probabilities times prior weights, which are the nearest to uniform with
    the published direction as their centroid (exponential tilting).
    """
    offsets = data.midpoints - published_direction(data.midpoints)
    tilt = minimize(
        lambda values: logsumexp(offsets @ values) + _RIDGE / 2 * values @ values, np.zeros(3)
    ).x
    weights = data.probabilities * softmax(offsets @ tilt)
    return np.asarray(weights @ data.midpoints / weights.sum())


def _centroid(data: RaceData) -> Floats:
    return np.asarray(data.probabilities @ data.midpoints)


def _winner_or_centroid(data: RaceData) -> Floats:
    is_single = len(data.result.ties) == 1
    return np.asarray(data.midpoints[data.result.winner]) if is_single else _centroid(data)


def _nearest_member(data: RaceData) -> Floats:
    distances = np.linalg.norm(data.midpoints - _centroid(data), axis=1)
    return np.asarray(data.midpoints[int(distances.argmin())])


def _quadratic_optimum(data: RaceData) -> Floats:
    """The best direction within the members' range on a quadratic fit of the posterior means."""
    gaps = [row.score_gap for row in data.result.member_results]
    measured = [index for index, gap in enumerate(gaps) if gap is not None]

    def features(directions: Floats) -> Floats:
        x, y = directions[:, 0], directions[:, 1]
        return np.column_stack([np.ones(len(x)), x, y, x * x, x * y, y * y])

    means = -np.array([gap for gap in gaps if gap is not None])
    fit = np.linalg.lstsq(features(data.effective[measured]), means, rcond=None)[0]
    low, high = data.effective.min(0), data.effective.max(0)
    directions = all_directions()
    is_inside = ((directions >= low - 1e-9) & (directions <= high + 1e-9)).all(1)
    directions = directions[is_inside]
    return np.asarray(directions[int((features(directions) @ fit).argmax())])


def _winner_and_published(data: RaceData) -> Floats:
    fraction = 2.0**-data.grid_phi
    winner = data.midpoints[data.result.winner]
    return np.asarray((1 - fraction) * winner + fraction * published_direction(data.midpoints))


FORMER, PROPOSED = "winner", "centroid and published"
RULES: Mapping[str, Callable[[RaceData], Floats]] = {
    FORMER: lambda data: data.midpoints[data.result.winner],
    "winner, own factors": lambda data: data.effective[data.result.winner],
    "centroid": _centroid,
    "centroid, own factors": lambda data: np.asarray(data.probabilities @ data.effective),
    "centroid, prior weights": _prior_weighted_centroid,
    "winner if single, else centroid": _winner_or_centroid,
    "member nearest to the centroid": _nearest_member,
    "quadratic optimum": _quadratic_optimum,
    PROPOSED: lambda data: family_direction(data.midpoints, data.probabilities, data.grid_phi),
    "winner and published": _winner_and_published,
    "published": lambda data: published_direction(data.midpoints),
}


@cache
def all_directions() -> Floats:
    """All directions on a grid, (directions, 3)."""
    steps = round(1 / _DIRECTION_STEP)
    counts = [
        (depth, width, steps - depth - width)
        for depth in range(steps + 1)
        for width in range(steps + 1 - depth)
    ]
    return np.array(counts) / steps
