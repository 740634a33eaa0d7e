"""The Pareto front of accuracy against FLOPs."""

from collections.abc import Iterable

from nas.trial import Trial


def pareto_front(trials: Iterable[Trial]) -> list[Trial]:
    """The trials whose accuracy no other one reaches at the same FLOPs or fewer, by rising FLOPs (of equals, the first)."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.cost.flops, -trial.accuracy)):
        if not front or trial.accuracy > front[-1].accuracy:
            front.append(trial)
    return front
