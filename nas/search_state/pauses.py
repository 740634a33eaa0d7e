"""The states of the paused trainings of a search, of which `PausedTrainings` is the owner."""

from phinas.experiment.executors import Job, Result
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.reward import Reward
from phinas.nas.trial import RunningTrial, TrialAttributes


class SearchPauses:
    """Gives each job the state of its training, and stores the state that it leaves at a pause.

    A state is stored after its pause was recorded. If the search is interrupted between the two,
    the training is resumed from an earlier state, or from the start, to the same result.

    Args:
        trial_store: The record, which names the owner of the states. Without an owner no state is
            stored. States of trainings that are neither paused nor resumed are removed.
        reward: The reward. States of trainings with a low reward are evicted first.
    """

    def __init__(self, trial_store: TrialStore, reward: Reward) -> None:
        self._store, self._reward = trial_store, reward
        self._states = trial_store.paused_trainings
        if self._states is not None:
            keys = {
                TrialAttributes.from_record(record).key
                for record in trial_store.records()
                if _is_resumable(record)
            }
            self._states.retain(trial_store.name, keys)

    def prepare(self, job: Job) -> Job:
        """The job with the state of its training, if there is one."""
        return self._states.prepare(job) if self._states else job

    def store(self, result: Result, trial: RunningTrial, measurement: Measurement) -> None:
        """Store the state that a job left when its training paused.

        Args:
            result: The result of the job.
            trial: Its trial, whose pause is recorded.
            measurement: The measurement in the result.
        """
        if self._states is None:
            return
        cost = trial.attributes.get_cost(self._reward.cost_metric)
        self._states.store(
            result, study=self._store.name, priority=self._reward(measurement.score, cost)
        )

    def remove(self, result: Result) -> None:
        """Remove the state of a training that has ended with this result."""
        if self._states is not None:
            self._states.remove(result)

    def close(self) -> None:
        """Remove all states at the end of the search. If a search with a larger budget resumes a
        training, it starts from the first epoch.
        """
        if self._states is not None:
            self._states.retain(self._store.name, ())


def _is_resumable(record: TrialRecord) -> bool:
    """Whether a training is paused, or was resumed and has not ended."""
    return not record.state.is_finished() and bool(record.paused_epochs)
