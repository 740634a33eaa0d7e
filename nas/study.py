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
from phinas.experiment.seeds import seed_of
from phinas.experiment.trial_store import ORPHAN, Row
from phinas.nas.problem import ACCURACY, COST, Problem, distributions_of
from phinas.nas.strategies import STRATEGIES
from phinas.nas.trial import cost_in
from phinas.space.search_spaces.search_space import Choices

CHANGED = "has changed since the run began; put the old space back, or use a new --out"


class Proposer:
    """Asks a strategy for choices, and tells it what became of them. InputError for a history of
    another space.
    """

    def __init__(self, problem: Problem, strategy: str, *, seed: int, history: list[Row]) -> None:
        self._problem = problem
        self._distributions = distributions_of(problem.space)
        self._make_sampler = STRATEGIES[strategy]
        self._seed = seed
        self._study = optuna.create_study(
            directions=["maximize", "minimize"] if problem.pareto else ["maximize"]
        )
        self._numbers: dict[int, int] = {}
        proposals = [row for row in history if row.attributes.get("reason") != ORPHAN]
        for row in sorted(proposals, key=lambda row: row.attributes["proposal"]):
            try:
                same = problem.space.decode(row.params).spec_id == row.attributes["spec_id"]
            except ValueError:  # its choices are none of the space's
                same = False
            if not same:
                told = (
                    f"trial {row.number} of the record is no network of space "
                    f"{problem.space.name!r}, which"
                )
                raise InputError(f"search.space: {told} {CHANGED}")
            self._remember(row)

    def _remember(self, row: Row) -> None:
        self._numbers[row.attributes["proposal"]] = len(self._study.get_trials(deepcopy=False))
        values, learned = None, {}
        if row.done and row.value is not None:
            learned = {
                ACCURACY: row.measurement.accuracy,
                COST: cost_in(self._problem.reward.metric, row.attributes),
            }
            values = self._values(row.value, learned[COST])
        self._study.add_trial(
            optuna.trial.create_trial(
                state=row.state,
                params=row.params,
                distributions=dict(self._distributions),
                values=values,
                user_attrs=learned,
                intermediate_values=self._rewards(row) if row.pruned else {},
            )
        )

    def _rewards(self, row: Row) -> dict[int, float]:
        price = cost_in(self._problem.reward.metric, row.attributes)
        return {
            step: self._problem.reward(accuracy, price) for step, accuracy in row.reports.items()
        }

    def _values(self, reward: float, cost: float) -> list[float]:
        return [reward, cost] if self._problem.pareto else [reward]

    def ask(self, proposal: int, attempt: int) -> Choices:
        """The strategy's choices for that proposal; another attempt draws other random numbers.
        Settle each with `take` or `refuse` before the next."""
        self._study.sampler = self._make_sampler(
            self._problem, seed_of(self._seed, "proposal", proposal, attempt)
        )
        trial = self._study.ask(dict(self._distributions))
        self._asked = trial.number
        return dict(trial.params)

    def take(self, proposal: int) -> None:
        """The last asked is what proposal `proposal` becomes."""
        self._numbers[proposal] = self._asked

    def refuse(self) -> None:
        """The last asked is dropped; strategies ignore failed trials."""
        self._study.tell(self._asked, state=TrialState.FAIL)

    def insist(self, proposal: int, choices: Choices) -> None:
        """Make other choices than the strategy's proposal `proposal`."""
        self._numbers[proposal] = len(self._study.get_trials(deepcopy=False))
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
        number = self._numbers[proposal]
        if measurement is None:
            self._study.tell(number, state=TrialState.FAIL)
            return
        trial_id, storage = self._trial_id(number), self._study._storage
        storage.set_trial_user_attr(trial_id, ACCURACY, measurement.accuracy)
        storage.set_trial_user_attr(trial_id, COST, cost)
        self._study.tell(number, self._values(reward, cost))

    def prune(self, proposal: int, rewards: Mapping[int, float]) -> None:
        """A proposal was stopped on its way, after these rewards by step: TPE ranks it behind the
        finished ones.
        """
        trial_id, storage = self._trial_id(self._numbers[proposal]), self._study._storage
        for step, reward in rewards.items():
            storage.set_trial_intermediate_value(trial_id, step, reward)
        storage.set_trial_state_values(trial_id, TrialState.PRUNED)

    def _trial_id(self, number: int) -> int:
        return self._study._storage.get_trial_id_from_study_id_trial_number(
            self._study._study_id, number
        )
