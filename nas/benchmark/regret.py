"""What many runs of a strategy come to: regret over evaluations, and how many it takes to get
somewhere.
"""

import math
from collections.abc import Sequence
from statistics import mean, median, quantiles
from typing import Any

import numpy as np

from phinas.nas.surrogate.gaussian_process import FloatArray

REGRET_CHECKPOINTS = (25, 50, 100, 200, 400, 800)
REGRET_TOLERANCE = 0.002  # of reward, from the optimum


def compute_regrets(run: dict[str, Any], optimum: float) -> FloatArray:
    """After each evaluation: the optimum less the true reward of the network that looks best so
    far.
    """
    observed_rewards, true_rewards = np.array(run["rewards"]), np.array(run["true_rewards"])
    best_so_far = np.maximum.accumulate(observed_rewards)
    incumbents = np.maximum.accumulate(
        np.where(observed_rewards == best_so_far, np.arange(len(observed_rewards)), 0)
    )
    return optimum - true_rewards[incumbents]


def evaluations_to_reach(run: dict[str, Any], level: float) -> float:
    """How many evaluations until a network of at least that true reward was among them; infinite
    for never.
    """
    is_reached = np.array(run["true_rewards"]) >= level
    return int(is_reached.argmax()) + 1 if is_reached.any() else math.inf


def quartiles(curves: Sequence[FloatArray]) -> FloatArray:
    """(evaluations, 3): lower quartile, median, upper quartile over runs, which may be of different
    lengths: a run that exhausted its space stays where it ended."""
    max_length = max(map(len, curves))
    rows = np.stack(
        [np.concatenate([curve, np.full(max_length - len(curve), curve[-1])]) for curve in curves]
    )
    return np.quantile(rows, [0.25, 0.5, 0.75], axis=0).T


def summarize_runs(
    runs: Sequence[dict[str, Any]], *, optimum: float, reference: float
) -> dict[str, Any]:
    """Of one strategy's runs: evaluations to beat the reference and to come within REGRET_TOLERANCE
    of the optimum (median, worst; None for never), regret at the checkpoints and at the end
    (quartiles), milliseconds a proposal."""
    curves = [compute_regrets(run, optimum) for run in runs]
    regret_quartiles = quartiles(curves)
    seconds = [interval for run in runs for interval in run["seconds"][1:]]
    last_tenth = [
        interval
        for run in runs
        for interval in run["seconds"][-max(1, len(run["seconds"]) // 10) :]
    ]
    return {
        "runs": len(runs),
        "to_beat_reference": _summarize_counts(
            [_evaluations_to_beat(run, reference) for run in runs]
        ),
        "to_reach_tolerance": _summarize_counts(
            [evaluations_to_reach(run, optimum - REGRET_TOLERANCE) for run in runs]
        ),
        "regret": {
            str(at): regret_quartiles[at - 1].tolist()
            for at in (*REGRET_CHECKPOINTS, len(regret_quartiles))
            if at <= len(regret_quartiles)
        },
        "proposal_ms": {
            "mean": 1e3 * mean(seconds or [0.0]),
            "last_tenth": 1e3 * mean(last_tenth or [0.0]),
        },
    }


def _evaluations_to_beat(run: dict[str, Any], level: float) -> float:
    return evaluations_to_reach(run, float(np.nextafter(level, math.inf)))


def _summarize_counts(values: list[float]) -> dict[str, float | None]:
    lower, middle, upper = (
        quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    if len(values) > 1:
        middle = median(values)
    counts = {"lower": lower, "median": middle, "upper": upper, "worst": max(values)}
    return {name: value if math.isfinite(value) else None for name, value in counts.items()}
