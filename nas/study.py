"""The search's two memories: the record on disk, and an in-memory study that the strategy looks at.

An ask on SQLite costs a commit a choice (measured: 60 ms for 28); here a strategy asks in memory
and the record gets each trial in one commit. Trial i of the in-memory study that is not a refusal
is proposal i of the record, so what a strategy sees depends on the record alone, not on how often
the driver was restarted.
"""

from collections.abc import Mapping

import optuna
from optuna.trial import TrialState

from phinas.experiment.errors import InputError
from phinas.experiment.measurement import Measurement
from phinas.experiment.seeds import derive_seed
from phinas.experiment.trial_store import ORPHAN_REASON, TrialRecord
from phinas.nas.problem import ACCURACY, COST, Problem, make_distributions
from phinas.nas.strategies import STRATEGIES
from phinas.nas.trial import recorded_cost
from phinas.space.search_spaces.search_space import Choices

SPACE_CHANGED = "has changed since the run began; put the old space back, or use a new --out"


class InMemoryStudy:
    """Asks a strategy for choices, and tells it what became of them. InputError for a history of
    another space.
    """

    def __init__(
        self, problem: Problem, strategy: str, *, seed: int, history: list[TrialRecord]
    ) -> None:
        self._problem = problem
        self._distributions = make_distributions(problem.space)
        self._make_sampler = STRATEGIES[strategy]
        self._seed = seed
        self._study = optuna.create_study(
            directions=["maximize", "minimize"] if problem.pareto else ["maximize"]
        )
        self._trial_numbers: dict[int, int] = {}
        proposals = [row for row in history if row.user_attrs.get("reason") != ORPHAN_REASON]
        for row in sorted(proposals, key=lambda row: row.user_attrs["proposal"]):
            try:
                is_same_network = (
                    problem.space.decode(row.params).spec_id == row.user_attrs["spec_id"]
                )
            except ValueError:  # its choices are none of the space's
                is_same_network = False
            if not is_same_network:
                message = (
                    f"trial {row.number} of the record is no network of space "
                    f"{problem.space.name!r}, which"
                )
                raise InputError(f"search.space: {message} {SPACE_CHANGED}")
            self._add_recorded_trial(row)

    def _add_recorded_trial(self, row: TrialRecord) -> None:
        self._trial_numbers[row.user_attrs["proposal"]] = len(
            self._study.get_trials(deepcopy=False)
        )
        values, user_attrs = None, {}
        if row.is_complete and row.value is not None:
            user_attrs = {
                ACCURACY: row.measurement.accuracy,
                COST: recorded_cost(self._problem.reward.metric, row.user_attrs),
            }
            values = self._values(row.value, user_attrs[COST])
        self._study.add_trial(
            optuna.trial.create_trial(
                state=row.state,
                params=row.params,
                distributions=dict(self._distributions),
                values=values,
                user_attrs=user_attrs,
                intermediate_values=self._intermediate_rewards(row) if row.is_pruned else {},
            )
        )

    def _intermediate_rewards(self, row: TrialRecord) -> dict[int, float]:
        trial_cost = recorded_cost(self._problem.reward.metric, row.user_attrs)
        return {
            step: self._problem.reward(accuracy, trial_cost)
            for step, accuracy in row.intermediate_values.items()
        }

    def _values(self, reward: float, cost: float) -> list[float]:
        return [reward, cost] if self._problem.pareto else [reward]

    def ask(self, proposal: int, attempt: int) -> Choices:
        """The strategy's choices for that proposal; another attempt draws other random numbers.
        Settle each with `accept` or `reject` before the next."""
        self._study.sampler = self._make_sampler(
            self._problem, derive_seed(self._seed, "proposal", proposal, attempt)
        )
        trial = self._study.ask(dict(self._distributions))
        self._last_trial_number = trial.number
        return dict(trial.params)

    def accept(self, proposal: int) -> None:
        """The last asked is what proposal `proposal` becomes."""
        self._trial_numbers[proposal] = self._last_trial_number

    def reject(self) -> None:
        """The last asked is dropped; strategies ignore failed trials."""
        self._study.tell(self._last_trial_number, state=TrialState.FAIL)

    def add_running_trial(self, proposal: int, choices: Choices) -> None:
        """Make other choices than the strategy's proposal `proposal`."""
        self._trial_numbers[proposal] = len(self._study.get_trials(deepcopy=False))
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=choices, distributions=dict(self._distributions)
        )
        self._study.add_trial(trial)

    def tell(
        self, proposal: int, reward: float, measurement: Measurement | None, cost: float = 0.0
    ) -> None:
        """What a proposal gave, and its cost in the reward's metric; no measurement for a
        failure.
        """
        number = self._trial_numbers[proposal]
        if measurement is None:
            self._study.tell(number, state=TrialState.FAIL)
            return
        trial_id, storage = self._trial_id(number), self._study._storage
        storage.set_trial_user_attr(trial_id, ACCURACY, measurement.accuracy)
        storage.set_trial_user_attr(trial_id, COST, cost)
        self._study.tell(number, self._values(reward, cost))

    def tell_pruned(self, proposal: int, rewards: Mapping[int, float]) -> None:
        """A proposal was stopped on its way, after these rewards by step: TPE ranks it behind the
        finished ones.
        """
        trial_id, storage = self._trial_id(self._trial_numbers[proposal]), self._study._storage
        for step, reward in rewards.items():
            storage.set_trial_intermediate_value(trial_id, step, reward)
        storage.set_trial_state_values(trial_id, TrialState.PRUNED)

    def _trial_id(self, number: int) -> int:
        return self._study._storage.get_trial_id_from_study_id_trial_number(
            self._study._study_id, number
        )
