"""Evaluator functions with known scores. They train nothing and can be pruned and paused."""

from collections.abc import Callable

from phinas.space.spec import ArchSpec

NUM_BEHAVIORS = 9


def final_score(spec: ArchSpec) -> float:
    """The score after all epochs. It rises with kernel size, squeeze-and-excitation and depth."""
    kernels = sum(stage.kernel == 5 for stage in spec.stages)
    se = sum(stage.se > 0 for stage in spec.stages)
    return 0.1 + 0.03 * kernels + 0.03 * se + 0.02 * spec.depth


def is_failing(spec: ArchSpec) -> bool:
    """Whether `unreliable` fails for this network."""
    return int(spec.network_id, 16) % NUM_BEHAVIORS < 2


def smooth(spec: ArchSpec, budget: int, seed: int, stop_epoch: int | None = None) -> float:
    """The score after `stop_epoch` epochs, or else the final score."""
    del seed
    return score_after(spec, stop_epoch or budget, budget)


def unreliable(spec: ArchSpec, budget: int, seed: int, stop_epoch: int | None = None) -> float:
    """Like `smooth`, but two of nine networks raise an error or return NaN."""
    behavior = int(spec.network_id, 16) % NUM_BEHAVIORS
    if behavior == 0:
        raise RuntimeError("diverged")
    return float("nan") if behavior == 1 else smooth(spec, budget, seed, stop_epoch)


def reporting(
    spec: ArchSpec, budget: int, seed: int, report: Callable[[int, float], bool]
) -> float:
    """Like `smooth`, with a report after each epoch."""
    del seed
    score = 0.0
    for epoch in range(1, budget + 1):
        score = score_after(spec, epoch, budget)
        if not report(epoch, score):
            break
    return score


def resumable(
    spec: ArchSpec,
    budget: int,
    seed: int,
    report: Callable[[int, float], bool],
    resume_token: int | None,
) -> float | tuple[float, int]:
    """Like `reporting`, with the number of trained epochs as the resume token."""
    del seed
    score = 0.0
    for epoch in range((resume_token or 0) + 1, budget + 1):
        score = score_after(spec, epoch, budget)
        if not report(epoch, score):
            return score, epoch
    return score


def score_after(spec: ArchSpec, epoch: int, budget: int) -> float:
    """The score of a network after an epoch. The learning curves of networks do not cross."""
    score = final_score(spec)
    return score if epoch >= budget else score * (1 - 0.5**epoch)
