"""Which trials are stopped before their training ends, since others were further at the same step.

Optuna's own pruners, on what the reward would be with the accuracy reported. They look at an
in-memory study of their own, in
which trial i is proposal i: Hyperband draws a trial's bracket from study name and number, so what
is pruned follows from seed and record, however often the driver was restarted and whatever was
refused.

A training that has come to its last step is not pruned: there is nothing left to save.
"""

import math
from collections.abc import Callable, Iterable

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.trial import TrialState, create_trial

from phinas.experiment.errors import InputError
from phinas.experiment.trial_store import TrialRecord

# Each from the epochs of a whole training. They wait until the learning rate has fallen for a
# while: measured on digits, the reward before half of the epochs says nothing about the last, and a
# pruner that looks earlier loses more than training fewer networks would (benchmarks/pruners.md).
PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "none": lambda _epochs: NopPruner(),
    # From half of the epochs on: below the median of the whole trainings so far, of which there
    # must be five.
    "median": lambda epochs: MedianPruner(n_startup_trials=5, n_warmup_steps=math.ceil(epochs / 2)),
    # ASHA (Li et al., arXiv:1810.05934): after half of the epochs the best third goes on.
    "halving": lambda epochs: SuccessiveHalvingPruner(
        min_resource=math.ceil(epochs / 2), reduction_factor=3
    ),
    # Several halvings side by side that hedge against a wrong first rung (Li et al.,
    # arXiv:1603.06560): after a quarter of the epochs, a half..., and each time the better half
    # goes on.
    "hyperband": lambda epochs: HyperbandPruner(
        min_resource=math.ceil(epochs / 4), max_resource=epochs, reduction_factor=2
    ),
}


class TrialPruner:
    """Hears what trials report. epochs: of a whole training."""

    def __init__(self, name: str, *, epochs: int, seed: int) -> None:
        self._pruner = PRUNERS[name](epochs)
        self._epochs = epochs
        self._study = optuna.create_study(study_name=f"pruning {seed}", direction="maximize")

    def replay(
        self, history: Iterable[TrialRecord], compute_reward: Callable[[TrialRecord, float], float]
    ) -> None:
        """Hear again what `history` reported; `reward_of(row, accuracy)`."""
        for row in sorted(history, key=lambda row: row.user_attrs["proposal"]):
            self.add_trial(row.user_attrs["proposal"])
            if row.state.is_finished():
                for step, accuracy in row.intermediate_values.items():
                    self.should_prune(
                        row.user_attrs["proposal"], step, compute_reward(row, accuracy)
                    )
                self.finish_trial(row.user_attrs["proposal"], row.state)

    def add_trial(self, proposal: int) -> None:
        """Proposals begin in their order."""
        if proposal != len(self._study.get_trials(deepcopy=False)):
            raise RuntimeError(f"proposal {proposal} is out of order")
        self._study.add_trial(create_trial(state=TrialState.RUNNING))

    def should_prune(self, proposal: int, step: int, reward: float) -> bool:
        """Whether that reward at that step is too little to go on."""
        trial_id = self._trial_id(proposal)
        self._study._storage.set_trial_intermediate_value(trial_id, step, reward)
        # Asked at the last step too: successive halving notes there what later trials must reach.
        is_prunable = self._pruner.prune(self._study, self._study._storage.get_trial(trial_id))
        return is_prunable and step < self._epochs

    def finish_trial(self, proposal: int, state: TrialState) -> None:
        # pruners compare what was reported, not this
        values = [0.0] if state == TrialState.COMPLETE else None
        self._study._storage.set_trial_state_values(self._trial_id(proposal), state, values)

    def _trial_id(self, proposal: int) -> int:
        return self._study._storage.get_trial_id_from_study_id_trial_number(
            self._study._study_id, proposal
        )


def require_reports(pruner: str, evaluator: str, *, reports_progress: bool) -> None:
    """Raises InputError where there would be nothing to prune by."""
    if pruner != "none" and not reports_progress:
        raise InputError(
            f"search.pruner: {pruner} needs what trainings report on their way, and {evaluator} "
            "reports nothing; give it a "
            "parameter `report` and call report(epoch, accuracy), or set pruner: none"
        )
