"""Which members to train where not all can be: at random, or by TPE. Both draw from the grid's
members and from nothing else.

A proposal is a point of (log alpha, log beta, log gamma), which is hardly ever a member: it stands
for the nearest one that has not been trained, distances in each dimension being relative to its
range. What is proposed depends on the results alone, not on their order, so a resume is a replay.
All members cost the same FLOPs: the budget is how often one asks.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning

from phinas.experiment.errors import InputError
from phinas.experiment.seeds import seed_of

Coordinates = Sequence[Sequence[float]]
Accuracies = Mapping[int, float]  # mean over the same seeds, by position of the member
_DRAWN_AT_RANDOM = 4  # before TPE; its usual ten would be most of a grid of twelve


def next_member(
    strategy: str, coordinates: Coordinates, known: Accuracies, *, seed: int
) -> int | None:
    """The position of the next member to train; None: all are known. coordinates: of each member,
    in the same dimensions.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"scaling.strategy: {strategy!r} is none of {', '.join(STRATEGIES)}")
    left = [member for member in range(len(coordinates)) if member not in known]
    return STRATEGIES[strategy](coordinates, known, left, seed) if left else None


def _in_order(_coordinates: Coordinates, _known: Accuracies, left: list[int], _seed: int) -> int:
    return left[0]


def _at_random(_coordinates: Coordinates, _known: Accuracies, left: list[int], seed: int) -> int:
    """The first of one shuffling of all members that is left."""
    return min(left, key=lambda member: (seed_of(seed, "members", member), member))


def _by_tpe(coordinates: Coordinates, known: Accuracies, left: list[int], seed: int) -> int:
    ranges = [(min(values), max(values)) for values in zip(*coordinates, strict=True)]
    wide = [dimension for dimension, (low, high) in enumerate(ranges) if high > low]
    if len(known) < _DRAWN_AT_RANDOM or not wide:
        return _at_random(coordinates, known, left, seed)

    def place(member: int) -> list[float]:
        return [
            (coordinates[member][d] - ranges[d][0]) / (ranges[d][1] - ranges[d][0]) for d in wide
        ]

    space: dict[str, BaseDistribution] = {
        f"x{dimension}": FloatDistribution(0.0, 1.0) for dimension in wide
    }
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ExperimentalWarning
        )  # multivariate is experimental up to Optuna 4
        sampler = optuna.samplers.TPESampler(
            seed=seed_of(seed, "tpe", len(known)), multivariate=True, n_startup_trials=1
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for member in sorted(known):
        params = dict(zip(space, place(member), strict=True))
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=space, value=known[member])
        )
    asked = study.ask(space)
    wanted = [asked.params[name] for name in space]
    return min(left, key=lambda member: (math.dist(place(member), wanted), member))


STRATEGIES: dict[str, Callable[[Coordinates, Accuracies, list[int], int], int]] = {
    "grid": _in_order,
    "random": _at_random,
    "tpe": _by_tpe,
}
