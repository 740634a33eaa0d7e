"""Rewards: the score and the cost of a network in one number, which a search maximizes.

All rewards are functions of the score ACC (0 to 1) and of the ratio C/T of the cost to its
target:

    soft      ACC * (C/T)^w                        w = -0.07; MnasNet (arXiv:1807.11626),
                                                   eq. 2 with a = b = w
    hard      ACC * (C/T)^w where C > T, else ACC  w = -1; the same with a = 0, b = w
    absolute  ACC + w * |C/T - 1|                  w = -0.07; TuNAS (arXiv:2008.06120), eq. 2
    accuracy  ACC                                  the score alone, for a search within cost limits

The values of w are the defaults.

At a given cost, each reward is linear in the score: slope * ACC + intercept.

In the soft reward, T multiplies every reward by the same constant. It does not change which network
is best, so the search does not prefer costs near T. The absolute reward does. The value -0.07 was
fitted to ImageNet, where doubling the cost raises the accuracy by about 5%. On data where it raises
the accuracy less, an exponent closer to 0 finds better networks (`nas/reward_exponent.py` estimates
it).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
LinearCoefficients = tuple[FloatArray, FloatArray]


def soft(cost_ratio: FloatArray, exponent: float) -> LinearCoefficients:
    """Slope and intercept of the soft reward at each cost ratio C/T."""
    return cost_ratio**exponent, np.zeros_like(cost_ratio)


def hard(cost_ratio: FloatArray, exponent: float) -> LinearCoefficients:
    """Slope and intercept of the hard reward at each cost ratio C/T."""
    return soft(np.maximum(cost_ratio, 1.0), exponent)


def absolute(cost_ratio: FloatArray, exponent: float) -> LinearCoefficients:
    """Slope and intercept of the absolute reward at each cost ratio C/T."""
    return np.ones_like(cost_ratio), exponent * np.abs(cost_ratio - 1)


def accuracy(cost_ratio: FloatArray, exponent: float) -> LinearCoefficients:
    """Slope 1 and intercept 0 at each cost ratio C/T: the reward is the score."""
    del exponent
    return np.ones_like(cost_ratio), np.zeros_like(cost_ratio)


REWARDS: dict[str, Callable[[FloatArray, float], LinearCoefficients]] = {
    "soft": soft,
    "hard": hard,
    "absolute": absolute,
    "accuracy": accuracy,
}
DEFAULT_EXPONENT = {"soft": -0.07, "hard": -1.0, "absolute": -0.07, "accuracy": 0.0}
UNUSED_TARGET_NOTE = (
    "under the soft reward the target multiplies all rewards by the same factor and does not "
    "change which network is best"
)


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward as a function of score and cost. It is infinite if it exceeds the range of floats.

    Attributes:
        kind: A key of REWARDS.
        exponent: The exponent w. In the absolute reward w is a factor. The accuracy reward has 0.
        target: The target cost T, in the unit of the cost.
        cost_metric: What the cost counts: flops, params, activations, or latency (in ms).
    """

    kind: str
    exponent: float
    target: float
    cost_metric: str = "flops"

    def linear_coefficients(self, costs: ArrayLike) -> LinearCoefficients:
        """Slope and intercept at each cost: reward = slope * score + intercept."""
        with np.errstate(over="ignore"):  # an exponent of -1000 at a hundredth of the target
            return REWARDS[self.kind](
                np.asarray(costs, dtype=np.float64) / self.target, self.exponent
            )

    def __call__(self, score: float, cost: float) -> float:
        slope, intercept = self.linear_coefficients(cost)
        return float(slope) * score + float(intercept)


def make_reward(
    kind: str, *, exponent: float | None, target: float, cost_metric: str = "flops"
) -> Reward:
    """A reward. An exponent of None stands for the published value, `DEFAULT_EXPONENT[kind]`."""
    if exponent is None:
        exponent = DEFAULT_EXPONENT[kind]
    return Reward(kind, exponent, target, cost_metric)
