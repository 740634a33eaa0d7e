"""The pruners by name.

This table imports no library, so that help stays quick. `phinas.nas.search_state.pruner` makes the
pruners, which are Optuna's.
"""

from phinas.experiment.errors import InputError

# Most pruners wait for half of the epochs, until the learning rate has fallen for a while. Measured
# on digits, the reward before that does not predict the final one, and a pruner that stops earlier
# loses more than training fewer networks would (benchmarks/pruners.md).
PRUNERS: dict[str, str] = {
    "none": "Train every network to the end.",
    "median": "From half of the epochs on, stop a training below the median of the others.",
    "halving": "ASHA: after half of the epochs, only the best third continues.",
    "hyperband": "Hyperband: several successive halvings that begin at different epochs.",
}


def require_pruner(name: str) -> None:
    """Raises InputError where `name` is not in PRUNERS."""
    if name not in PRUNERS:
        raise InputError(f"search.pruner: {name!r} is not a pruner; use {', '.join(PRUNERS)}")


def require_reports(pruner: str, evaluator: str, *, reports_progress: bool) -> None:
    """Check that the evaluator reports the scores that the pruner needs.

    Args:
        pruner: The value of `search.pruner`.
        evaluator: The value of `search.evaluator`.
        reports_progress: Whether the evaluator reports scores during a training.

    Raises:
        InputError: There is a pruner, and the evaluator reports no scores.
    """
    if pruner != "none" and not reports_progress:
        raise InputError(
            f"search.pruner: {pruner} needs the score after each epoch, and {evaluator} reports "
            "none; give the function a parameter `report` and call report(epoch, score), or set "
            "search.pruner: none"
        )
