"""What many runs of a searcher come to: regret over evaluations, and how many it takes to get
somewhere.
"""

import math
from collections.abc import Sequence
from statistics import mean, median, quantiles
from typing import Any

import numpy as np

from phinas.nas.surrogate.gaussian_process import Floats

CHECKPOINTS = (25, 50, 100, 200, 400, 800)
NEAR = 0.002  # of reward, from the optimum


def regrets(run: dict[str, Any], optimum: float) -> Floats:
    """After each evaluation: the optimum less the true reward of the network that looks best so
    far.
    """
    seen, true = np.array(run["rewards"]), np.array(run["true"])
    best = np.maximum.accumulate(seen)
    leader = np.maximum.accumulate(np.where(seen == best, np.arange(len(seen)), 0))
    return optimum - true[leader]


def evaluations_to(run: dict[str, Any], level: float) -> float:
    """How many evaluations until a network of at least that true reward was among them; infinite
    for never.
    """
    reached = np.array(run["true"]) >= level
    return int(reached.argmax()) + 1 if reached.any() else math.inf


def quartiles(curves: Sequence[Floats]) -> Floats:
    """(evaluations, 3): lower quartile, median, upper quartile over runs, which may be of different
    lengths: a run that exhausted its space stays where it ended."""
    longest = max(map(len, curves))
    rows = np.stack(
        [np.concatenate([curve, np.full(longest - len(curve), curve[-1])]) for curve in curves]
    )
    return np.quantile(rows, [0.25, 0.5, 0.75], axis=0).T


def summary(runs: Sequence[dict[str, Any]], *, optimum: float, reference: float) -> dict[str, Any]:
    """Of one searcher's runs: evaluations to beat the reference and to come within NEAR of the
    optimum (median, worst; None for never), regret at the checkpoints and at the end (quartiles),
    milliseconds a proposal."""
    curves = [regrets(run, optimum) for run in runs]
    middle = quartiles(curves)
    seconds = [second for run in runs for second in run["seconds"][1:]]
    last = [
        second for run in runs for second in run["seconds"][-max(1, len(run["seconds"]) // 10) :]
    ]
    return {
        "runs": len(runs),
        "to_beat_reference": _counts([_above(run, reference) for run in runs]),
        "to_come_near": _counts([evaluations_to(run, optimum - NEAR) for run in runs]),
        "regret": {
            str(at): middle[at - 1].tolist()
            for at in (*CHECKPOINTS, len(middle))
            if at <= len(middle)
        },
        "milliseconds": {
            "mean": 1e3 * mean(seconds or [0.0]),
            "last_tenth": 1e3 * mean(last or [0.0]),
        },
    }


def _above(run: dict[str, Any], level: float) -> float:
    return evaluations_to(run, float(np.nextafter(level, math.inf)))


def _counts(values: list[float]) -> dict[str, float | None]:
    lower, middle, upper = (
        quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    if len(values) > 1:
        middle = median(values)
    told = {"lower": lower, "median": middle, "upper": upper, "worst": max(values)}
    return {name: value if math.isfinite(value) else None for name, value in told.items()}
