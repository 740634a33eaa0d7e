"""The trials of a search in the form that strategies get."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from phinas.experiment.errors import InputError
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.nas.problem import Problem
from phinas.nas.strategies.interface import PastTrial, TrialStatus
from phinas.nas.trial import LatencyTiming, TrialAttributes
from phinas.space.search_spaces.search_space import Choices

SPACE_CHANGED = "has changed since the run began; restore the previous space, or use a new --out"


class PastTrials:
    """All trials of a search by their proposal numbers.

    Args:
        problem: The search problem.
        records: The recorded trials, without replaced ones.

    Raises:
        InputError: A record is of another search space.
    """

    def __init__(self, problem: Problem, records: Iterable[TrialRecord]) -> None:
        self._problem = problem
        self.identities: set[str] = set()
        self._trials: dict[int, PastTrial] = {}
        self._targets: dict[int, tuple[int, ...]] = {}
        for record in records:
            attributes = TrialAttributes.from_record(record)
            _require_same_space(problem, record, attributes)
            self.identities.add(problem.identify(record.params, attributes.network_id))
            self._trials[attributes.proposal] = self._read(record, attributes)
            self._targets[attributes.proposal] = record.target_epochs or (problem.epochs,)

    def __len__(self) -> int:
        return len(self._trials)

    def in_order(self) -> list[PastTrial]:
        return [self._trials[proposal] for proposal in sorted(self._trials)]

    @property
    def num_actions(self) -> int:
        """Number of trainings that were started or resumed: the number of the next proposal."""
        return sum(len(targets) for targets in self._targets.values())

    @property
    def spent_epochs(self) -> int:
        """Epochs that have been trained or are being trained. A failed trial counts with all the
        epochs up to its target.
        """
        return sum(targets[-1] for targets in self._targets.values())

    @property
    def finished_epochs(self) -> int:
        """Epochs of the trainings that have ended."""
        return sum(
            targets[-1] if self._trials[proposal].status != "running" else sum(targets[-2:-1])
            for proposal, targets in self._targets.items()
        )

    def target_epochs(self, proposal: int) -> int:
        """The epoch up to which a trial was trained or is being trained."""
        return self._targets[proposal][-1]

    def cost(self, proposal: int) -> float:
        """The cost of a trial's network, as in the reward.

        Raises:
            RuntimeError: The cost is a latency that has not been measured.
        """
        cost = self._trials[proposal].cost
        if cost is None:
            raise RuntimeError(f"the latency of trial {proposal} has not been measured")
        return cost

    def reward(self, proposal: int, score: float) -> float:
        """The reward of a trial for a score."""
        return self._problem.reward(score, self.cost(proposal))

    def start(self, attributes: TrialAttributes, choices: Choices, epochs: int) -> PastTrial:
        self.identities.add(self._problem.identify(choices, attributes.network_id))
        self._targets[attributes.proposal] = (epochs,)
        trial = PastTrial(attributes.proposal, choices, "running", cost=self._cost(attributes))
        return self._set(trial)

    def resume(self, proposal: int, epochs: int) -> PastTrial:
        self._targets[proposal] += (epochs,)
        return self._set(replace(self._trials[proposal], status="running"))

    def add_latency(self, attributes: TrialAttributes, timing: LatencyTiming) -> TrialAttributes:
        attributes = replace(attributes, latency=timing)
        trial = self._trials[attributes.proposal]
        self._set(replace(trial, cost=self._cost(attributes)))
        return attributes

    def complete(
        self, proposal: int, scores: Mapping[int, float], score: float, reward: float
    ) -> PastTrial:
        trial = self._with_scores(self._trials[proposal], {**scores, self._problem.epochs: score})
        return self._set(replace(trial, status="complete", score=score, reward=reward))

    def end(
        self,
        proposal: int,
        status: Literal["paused", "pruned", "failed"],
        scores: Mapping[int, float],
    ) -> PastTrial:
        """Record that a training ended before its last epoch.

        Args:
            proposal: The trial.
            status: How it ended.
            scores: Score by epoch so far.
        """
        trial = self._with_scores(self._trials[proposal], scores)
        return self._set(replace(trial, status=status))

    def _set(self, trial: PastTrial) -> PastTrial:
        self._trials[trial.number] = trial
        return trial

    def _cost(self, attributes: TrialAttributes) -> float | None:
        cost_metric = self._problem.reward.cost_metric
        if cost_metric == "latency" and attributes.latency is None:
            return None
        return attributes.get_cost(cost_metric)

    def _with_scores(self, trial: PastTrial, scores: Mapping[int, float]) -> PastTrial:
        merged = dict(sorted({**trial.scores, **scores}.items()))
        cost = trial.cost
        if cost is None:
            return replace(trial, scores=merged)
        rewards = {epoch: self._problem.reward(score, cost) for epoch, score in merged.items()}
        return replace(trial, scores=merged, rewards=rewards)

    def _read(self, record: TrialRecord, attributes: TrialAttributes) -> PastTrial:
        cost, status = self._cost(attributes), _status(record)
        trial = PastTrial(attributes.proposal, record.params, status, cost=cost)
        if status == "running" and not record.paused_epochs:
            return trial
        scores = dict(record.intermediate_values)
        if status == "complete":
            trial = replace(trial, score=record.measurement.score, reward=record.value)
            scores[self._problem.epochs] = record.measurement.score
        return self._with_scores(trial, scores)


def _status(record: TrialRecord) -> TrialStatus:
    if record.is_paused or record.was_closed_while_paused:
        return "paused"
    if record.is_complete:
        return "complete"
    if record.is_pruned:
        return "pruned"
    return "failed" if record.is_failed else "running"


def _require_same_space(problem: Problem, record: TrialRecord, attributes: TrialAttributes) -> None:
    space = problem.space
    try:
        is_same_network = space.decode(record.params).network_id == attributes.network_id
    except ValueError:  # its choices are not in the space
        is_same_network = False
    if not is_same_network:
        raise InputError(
            f"search.space: trial {record.number} of the record is not a network of space "
            f"{space.name!r}, which {SPACE_CHANGED}"
        )
