"""The Pareto front of accuracy against FLOPs."""

from collections.abc import Iterable

from nas.trial import Trial


def pareto_front(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that no other one beats in accuracy at the same FLOPs or fewer, by rising FLOPs."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.cost.flops, -trial.accuracy)):
        if not front or trial.accuracy > front[-1].accuracy:
            front.append(trial)
    return front
