"""Accuracy and cost as one number.

All three are functions of accuracy ACC (a fraction) and cost over target, C / T:

    soft      ACC * (C/T)^w                        w = -0.07; MnasNet (arXiv:1807.11626),
                                                   eq. 2 with a = b = w
    hard      ACC * (C/T)^w where C > T, else ACC  w = -1; the same with a = 0, b = w
    absolute  ACC + w * |C/T - 1|                  w = -0.07; TuNAS (arXiv:2008.06120), eq. 2

The values of w are the defaults.

At a given cost each is a straight line in accuracy, slope * ACC + intercept; that line is all
there is to it.

Under `soft`, T multiplies every reward by one constant: it cannot change which network wins,
and nothing pulls the search to T. Under `absolute` something does. -0.07 was fitted to
ImageNet, where doubling the cost buys about 5% of accuracy; where it buys less, a weaker exponent w
finds better networks (nas/reward_exponent.py estimates it).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
LinearCoefficients = tuple[FloatArray, FloatArray]


def soft(cost_ratio: FloatArray, exponent: float) -> LinearCoefficients:
    return cost_ratio**exponent, np.zeros_like(cost_ratio)


def hard(cost_ratio: FloatArray, exponent: float) -> LinearCoefficients:
    return soft(np.maximum(cost_ratio, 1.0), exponent)


def absolute(cost_ratio: FloatArray, exponent: float) -> LinearCoefficients:
    return np.ones_like(cost_ratio), exponent * np.abs(cost_ratio - 1)


REWARDS: dict[str, Callable[[FloatArray, float], LinearCoefficients]] = {
    "soft": soft,
    "hard": hard,
    "absolute": absolute,
}
DEFAULT_EXPONENT = {"soft": -0.07, "hard": -1.0, "absolute": -0.07}
UNUSED_TARGET_NOTE = (
    "under the soft reward the target multiplies all rewards alike and changes "
    "nothing about which network wins"
)


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward with its exponent w (of `absolute` its factor), its target T, and what T and the
    costs count (`metric`: flops, params, activations, latency in ms); infinite where it is beyond
    all numbers."""

    kind: str
    exponent: float
    target: float
    metric: str = "flops"

    def linear_coefficients(self, costs: ArrayLike) -> LinearCoefficients:
        """Slope and intercept at each of `costs`: reward = slope * accuracy + intercept."""
        with np.errstate(over="ignore"):  # a weight of -1000 at a hundredth of the target
            return REWARDS[self.kind](
                np.asarray(costs, dtype=np.float64) / self.target, self.exponent
            )

    def __call__(self, accuracy: float, cost: float) -> float:
        slope, intercept = self.linear_coefficients(cost)
        return float(slope) * accuracy + float(intercept)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "exponent": self.exponent,
            "target": self.target,
            "metric": self.metric,
        }


def make_reward(
    kind: str, *, exponent: float | None, target: float, metric: str = "flops"
) -> Reward:
    return Reward(kind, DEFAULT_EXPONENT[kind] if exponent is None else exponent, target, metric)
