"""The pruner: it stops trainings early whose rewards are worse than those of others.

The pruners are Optuna's. They compare the rewards that the reported scores would give. Their study
is separate, and its trial i is proposal i: Hyperband derives the bracket of a trial from the name
of the study and the number of the trial. So which trials are pruned depends on the seed and the
record only, not on interruptions and rejected proposals.

A training that has reached its last epoch is not pruned, because this would save nothing.
"""

import math
from collections.abc import Callable, Iterable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState, create_trial

from phinas.experiment.storage.optuna_study import OptunaStudy
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.nas.reward import Reward
from phinas.nas.trial import TrialAttributes

# Each is made from the epochs of a full training; `phinas.nas.pruning.PRUNERS` says what they do.
_PRUNER_CLASSES: dict[str, Callable[[int], BasePruner]] = {
    # Five full trainings are needed for a median.
    "median": lambda epochs: MedianPruner(n_startup_trials=5, n_warmup_steps=math.ceil(epochs / 2)),
    # Li et al., arXiv:1810.05934.
    "halving": lambda epochs: SuccessiveHalvingPruner(
        min_resource=math.ceil(epochs / 2), reduction_factor=3
    ),
    # Li et al., arXiv:1603.06560: halvings from a quarter, a half... of the epochs on; at each rung
    # the better half continues.
    "hyperband": lambda epochs: HyperbandPruner(
        min_resource=math.ceil(epochs / 4), max_resource=epochs, reduction_factor=2
    ),
}


class TrialPruner:
    """Receives the reports of all trials and decides which trainings stop.

    Args:
        name: A key of `phinas.nas.pruning.PRUNERS`, not "none".
        epochs: Epochs of a full training.
        seed: Seed of the search.
    """

    def __init__(self, name: str, *, epochs: int, seed: int) -> None:
        self._pruner = _PRUNER_CLASSES[name](epochs)
        self._epochs = epochs
        self._study = OptunaStudy(
            optuna.create_study(study_name=f"pruning {seed}", direction="maximize")
        )

    def replay(self, records: Iterable[TrialRecord], reward: Reward) -> None:
        """Repeat the reports of recorded trials."""
        trials = [(TrialAttributes.from_record(record), record) for record in records]
        trials.sort(key=lambda item: item[0].proposal)
        for attributes, record in trials:
            self.add_trial(attributes.proposal)
            if not record.state.is_finished() or record.was_closed_while_paused:
                continue
            for step, score in record.intermediate_values.items():
                value = reward(score, attributes.get_cost(reward.cost_metric))
                self.should_prune(attributes.proposal, step, value)
            self.finish_trial(attributes.proposal, record.state)

    def add_trial(self, proposal: int) -> None:
        """Start a proposal. Proposals are added in their order."""
        if proposal != len(self._study.trials()):
            raise RuntimeError(f"proposal {proposal} is out of order")
        self._study.add(create_trial(state=TrialState.RUNNING))

    def should_prune(self, proposal: int, step: int, reward: float) -> bool:
        """Record a report.

        Returns:
            Whether the training should stop after this step.
        """
        self._study.write(proposal, {}, {step: reward})
        # Also at the last step: successive halving records there what later trials must reach.
        is_prunable = self._pruner.prune(self._study.study, self._study.trial(proposal))
        return is_prunable and step < self._epochs

    def finish_trial(self, proposal: int, state: TrialState) -> None:
        """Record how a trial ended. Pruners compare reports, not final values."""
        self._study.finish(proposal, state, [0.0] if state == TrialState.COMPLETE else None)
