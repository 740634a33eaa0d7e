"""Accuracy and FLOPs as one number.

All three are functions of accuracy ACC (a fraction) and cost over target, C / T:

    soft      ACC * (C/T)^w                          MnasNet (arXiv:1807.11626, eq. 2, a = b = w), default w = -0.07
    hard      ACC * (C/T)^w where C > T, else ACC    the same with a = 0, b = w, default w = -1
    absolute  ACC + w * |C/T - 1|                    TuNAS (arXiv:2008.06120, eq. 2), default w = -0.07

Under `soft`, T multiplies every reward by one constant: it cannot change which network wins, and nothing pulls the search
to T. Under `absolute` something does. -0.07 was fitted to ImageNet, where doubling the cost buys about 5% of accuracy; where
it buys less, a weaker w finds better networks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


def soft(accuracy: float, ratio: float, weight: float) -> float:
    return accuracy * ratio**weight


def hard(accuracy: float, ratio: float, weight: float) -> float:
    return accuracy * ratio**weight if ratio > 1 else accuracy


def absolute(accuracy: float, ratio: float, weight: float) -> float:
    return accuracy + weight * abs(ratio - 1)


REWARDS: dict[str, Callable[[float, float, float], float]] = {"soft": soft, "hard": hard, "absolute": absolute}
DEFAULT_WEIGHT = {"soft": -0.07, "hard": -1.0, "absolute": -0.07}


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward with its weight w and its target T (multiply-adds); infinite where it is beyond all numbers."""

    kind: str
    weight: float
    target: float

    def __call__(self, accuracy: float, flops: float) -> float:
        try:
            return REWARDS[self.kind](accuracy, flops / self.target, self.weight)
        except OverflowError:  # a weight of -1000 at a hundredth of the target
            return math.inf


def make_reward(kind: str, *, weight: float | None, target: float) -> Reward:
    return Reward(kind, DEFAULT_WEIGHT[kind] if weight is None else weight, target)
