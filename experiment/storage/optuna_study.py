"""An Optuna study with write methods that its public interface lacks.

This is the only module that uses the private storage of a study. Both the record of trials on disk
and the in-memory studies of samplers and pruners need it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState


class OptunaStudy:
    """A study whose trials are addressed by their numbers.

    Attributes:
        study: Optuna's study.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study

    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers, not copied. Do not change them."""
        return self.study.get_trials(deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        return self.study._storage.get_trial(self._trial_id(number))

    def ask(
        self, sampler: BaseSampler, distributions: Mapping[str, BaseDistribution]
    ) -> tuple[int, dict[str, Any]]:
        """Start a trial.

        Returns:
            The number of the trial and the choices of the sampler.
        """
        self.study.sampler = sampler
        trial = self.study.ask(dict(distributions))
        return trial.number, dict(trial.params)

    def add(self, trial: FrozenTrial) -> int:
        """Add a trial in one commit.

        Returns:
            The number of the trial, which `Study.add_trial` does not return.
        """
        storage = self.study._storage
        trial_id = storage.create_new_trial(self.study._study_id, template_trial=trial)
        return storage.get_trial_number_from_id(trial_id)

    def write(
        self,
        number: int,
        user_attrs: Mapping[str, Any],
        intermediate_values: Mapping[int, float] | None = None,
    ) -> None:
        """Add attributes and intermediate values by step to a trial, one commit each."""
        trial_id, storage = self._trial_id(number), self.study._storage
        for step, value in (intermediate_values or {}).items():
            storage.set_trial_intermediate_value(trial_id, step, value)
        for name, value in user_attrs.items():
            storage.set_trial_user_attr(trial_id, name, value)

    def tell(self, number: int, values: float | Sequence[float] | None) -> None:
        """Complete a trial with its values, or fail it without values."""
        if values is None:
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, values)

    def finish(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Set the final state of a trial.

        `Study.tell` would use the last intermediate value of a pruned trial as its value.
        """
        self.study._storage.set_trial_state_values(self._trial_id(number), state, values)

    def _trial_id(self, number: int) -> int:
        return self.study._storage.get_trial_id_from_study_id_trial_number(
            self.study._study_id, number
        )
