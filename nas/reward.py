"""Accuracy and cost as one number.

All three are functions of accuracy ACC (a fraction) and cost over target, C / T:

    soft      ACC * (C/T)^w                          MnasNet (arXiv:1807.11626, eq. 2, a = b = w), default w = -0.07
    hard      ACC * (C/T)^w where C > T, else ACC    the same with a = 0, b = w, default w = -1
    absolute  ACC + w * |C/T - 1|                    TuNAS (arXiv:2008.06120, eq. 2), default w = -0.07

At a given cost each is a straight line in accuracy, slope * ACC + intercept; that line is all
there is to it.

Under `soft`, T multiplies every reward by one constant: it cannot change which network wins,
and nothing pulls the search to T. Under `absolute` something does. -0.07 was fitted to
ImageNet, where doubling the cost buys about 5% of accuracy; where it buys less, a weaker w
finds better networks (nas/reward_exponent.py estimates it).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Lines = tuple[Floats, Floats]


def soft(ratio: Floats, weight: float) -> Lines:
    return ratio**weight, np.zeros_like(ratio)


def hard(ratio: Floats, weight: float) -> Lines:
    return soft(np.maximum(ratio, 1.0), weight)


def absolute(ratio: Floats, weight: float) -> Lines:
    return np.ones_like(ratio), weight * np.abs(ratio - 1)


REWARDS: dict[str, Callable[[Floats, float], Lines]] = {
    "soft": soft,
    "hard": hard,
    "absolute": absolute,
}
DEFAULT_WEIGHT = {"soft": -0.07, "hard": -1.0, "absolute": -0.07}
IDLE_TARGET = (
    "under the soft reward the target multiplies all rewards alike and changes "
    "nothing about which network wins"
)


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward with its weight w, its target T, and what T and the costs count (`metric`: flops,
    params, activations, latency in ms); infinite where it is beyond all numbers."""

    kind: str
    weight: float
    target: float
    metric: str = "flops"

    def line(self, costs: ArrayLike) -> Lines:
        """Slope and intercept at each of `costs`: reward = slope * accuracy + intercept."""
        with np.errstate(over="ignore"):  # a weight of -1000 at a hundredth of the target
            return REWARDS[self.kind](
                np.asarray(costs, dtype=np.float64) / self.target, self.weight
            )

    def __call__(self, accuracy: float, cost: float) -> float:
        slope, intercept = self.line(cost)
        return float(slope) * accuracy + float(intercept)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "weight": self.weight,
            "target": self.target,
            "metric": self.metric,
        }


def make_reward(kind: str, *, weight: float | None, target: float, metric: str = "flops") -> Reward:
    return Reward(kind, DEFAULT_WEIGHT[kind] if weight is None else weight, target, metric)
