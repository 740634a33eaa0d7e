"""The regret of strategies over evaluations, and the number of evaluations to reach a reward."""

import math
from collections.abc import Sequence
from statistics import mean, median, quantiles

import numpy as np

from phinas.experiment.artifacts.bench import (
    BenchRun,
    EvaluationCounts,
    ProposalTime,
    RegretQuartiles,
    StrategySummary,
)
from phinas.nas.surrogate.gaussian_process import FloatArray

REGRET_CHECKPOINTS = (25, 50, 100, 200, 400, 800)
_ROUNDING = 1e-9  # of sums of epochs, in evaluations
REGRET_TOLERANCE = 0.002  # distance from the optimum, in units of the reward


def compute_regrets(run: BenchRun, optimum: float) -> FloatArray:
    """The regret after each evaluation: after 1, 2, ... as many as were spent.

    Returns:
        The optimum minus the true reward of the network with the best observed reward so far, or
        minus 0 before the first complete evaluation.
    """
    observed_rewards, true_rewards = np.array(run.rewards), np.array(run.true_rewards)
    best_so_far = np.maximum.accumulate(observed_rewards)
    incumbents = np.maximum.accumulate(
        np.where(observed_rewards == best_so_far, np.arange(len(observed_rewards)), 0)
    )
    num_evaluations = math.ceil(run.spent[-1] - _ROUNDING)
    num_complete = np.searchsorted(
        np.array(run.spent) - _ROUNDING, np.arange(1, num_evaluations + 1), side="right"
    )
    incumbent_rewards = np.concatenate([[0.0], true_rewards[incumbents]])
    return optimum - incumbent_rewards[num_complete]


def evaluations_to_reach(run: BenchRun, level: float) -> float:
    """The number of evaluations until a true reward of at least `level`. Infinity without one."""
    is_reached = np.array(run.true_rewards) >= level
    return run.spent[int(is_reached.argmax())] if is_reached.any() else math.inf


def quartiles(curves: Sequence[FloatArray]) -> FloatArray:
    """Quartiles over runs after each evaluation.

    Args:
        curves: One curve for each run. A shorter curve, of a run that exhausted its space, is
            extended by its last value.

    Returns:
        Shape (evaluations, 3): lower quartile, median and upper quartile.
    """
    max_length = max(map(len, curves))
    rows = np.stack(
        [np.concatenate([curve, np.full(max_length - len(curve), curve[-1])]) for curve in curves]
    )
    return np.quantile(rows, [0.25, 0.5, 0.75], axis=0).T


def summarize_runs(
    runs: Sequence[BenchRun], *, optimum: float, target_reward: float | None
) -> StrategySummary:
    """Summarize the runs of one strategy.

    Args:
        runs: One run for each seed.
        optimum: The best known reward.
        target_reward: The reward of the network that the strategies should exceed. None without
            one.
    """
    regret_quartiles = quartiles([compute_regrets(run, optimum) for run in runs])
    seconds = [interval for run in runs for interval in run.seconds[1:]]
    last_tenth = [
        interval for run in runs for interval in run.seconds[-max(1, len(run.seconds) // 10) :]
    ]
    return StrategySummary(
        runs=len(runs),
        to_beat_target=None if target_reward is None else _count_to_beat(runs, target_reward),
        to_reach_tolerance=_summarize_counts(
            [evaluations_to_reach(run, optimum - REGRET_TOLERANCE) for run in runs]
        ),
        regret=_select_checkpoints(regret_quartiles),
        proposal_ms=ProposalTime(
            mean=1e3 * mean(seconds or [0.0]), last_tenth=1e3 * mean(last_tenth or [0.0])
        ),
    )


def _count_to_beat(runs: Sequence[BenchRun], target_reward: float) -> EvaluationCounts:
    """The evaluations to a reward above that of the target network."""
    level = float(np.nextafter(target_reward, math.inf))
    return _summarize_counts([evaluations_to_reach(run, level) for run in runs])


def _select_checkpoints(regret_quartiles: FloatArray) -> tuple[RegretQuartiles, ...]:
    """The regret at each of REGRET_CHECKPOINTS that the runs reached, and at the end."""
    last = len(regret_quartiles)
    checkpoints = sorted({*(number for number in REGRET_CHECKPOINTS if number <= last), last})
    rows = []
    for evaluations in checkpoints:
        lower, middle, upper = regret_quartiles[evaluations - 1].tolist()
        rows.append(
            RegretQuartiles(evaluations=evaluations, lower=lower, median=middle, upper=upper)
        )
    return tuple(rows)


def _summarize_counts(values: Sequence[float]) -> EvaluationCounts:
    lower = middle = upper = values[0]
    if len(values) > 1:
        lower, _, upper = quantiles(values, n=4, method="inclusive")
        middle = median(values)

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return EvaluationCounts(
        lower=finite(lower), median=finite(middle), upper=finite(upper), worst=finite(max(values))
    )
