"""Selection of the members to train where there are more than the budget allows: at random or by
TPE.

A proposal of TPE is a point of (log alpha, log beta, log gamma). The nearest member that has not
been trained is selected, with distances relative to the range of each dimension. Proposals depend
on the results, not on their order, so resuming is replaying. All members have equal FLOPs, so the
budget is the number of members.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning

from phinas.experiment.errors import InputError
from phinas.experiment.seeds import derive_seed

Coordinates = Sequence[Sequence[float]]
Accuracies = Mapping[int, float]  # mean over the same seeds, by position of the member
_NUM_STARTUP_MEMBERS = 4  # random members before TPE; its default of ten is most of a grid


def next_member(
    strategy: str, coordinates: Coordinates, observed: Accuracies, *, seed: int
) -> int | None:
    """The position of the next member to train; None: all are observed.

    Args:
        strategy: A key of STRATEGIES.
        coordinates: Of each member.
        observed: Scores by position.

    Raises:
        InputError: The strategy is unknown.
    """
    if strategy not in STRATEGIES:
        names = ", ".join(STRATEGIES)
        raise InputError(f"scaling.strategy: {strategy!r} is not a strategy; use {names}")
    remaining = [member for member in range(len(coordinates)) if member not in observed]
    return STRATEGIES[strategy](coordinates, observed, remaining, seed) if remaining else None


def _next_in_order(
    _coordinates: Coordinates, _observed: Accuracies, remaining: list[int], _seed: int
) -> int:
    return remaining[0]


def _sample_random(
    _coordinates: Coordinates, _observed: Accuracies, remaining: list[int], seed: int
) -> int:
    """The first remaining member of a shuffled order of all."""
    return min(remaining, key=lambda member: (derive_seed(seed, "members", member), member))


def _sample_tpe(
    coordinates: Coordinates, observed: Accuracies, remaining: list[int], seed: int
) -> int:
    ranges = [(min(values), max(values)) for values in zip(*coordinates, strict=True)]
    varying = [dimension for dimension, (low, high) in enumerate(ranges) if high > low]
    if len(observed) < _NUM_STARTUP_MEMBERS or not varying:
        return _sample_random(coordinates, observed, remaining, seed)

    def normalize(member: int) -> list[float]:
        return [
            (coordinates[member][d] - ranges[d][0]) / (ranges[d][1] - ranges[d][0]) for d in varying
        ]

    space: dict[str, BaseDistribution] = {
        f"x{dimension}": FloatDistribution(0.0, 1.0) for dimension in varying
    }
    with warnings.catch_warnings():
        # multivariate is experimental up to Optuna 4
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=derive_seed(seed, "tpe", len(observed)), multivariate=True, n_startup_trials=1
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for member in sorted(observed):
        params = dict(zip(space, normalize(member), strict=True))
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=space, value=observed[member])
        )
    trial = study.ask(space)
    target = [trial.params[name] for name in space]
    return min(remaining, key=lambda member: (math.dist(normalize(member), target), member))


STRATEGIES: dict[str, Callable[[Coordinates, Accuracies, list[int], int], int]] = {
    "grid": _next_in_order,
    "random": _sample_random,
    "tpe": _sample_tpe,
}
