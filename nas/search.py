"""The search: ask, gate, train, tell, until the budget is spent or the space is exhausted.

Under `weight: auto` the first trials are drawn at random and held: measured, but without a value.
When all of them have ended, the weight is estimated from them and noted once and for all, they get
their rewards, and the strategy takes over. What is noted is never estimated again, so a search that
was killed anywhere goes on as an unbroken one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from optuna.trial import TrialState

from phinas.experiment.errors import InputError, NothingFound
from phinas.experiment.executors import Executor, Job, Result
from phinas.experiment.job_list import counted_reasons, record
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import FIRST_TRIALS, SearchSection
from phinas.experiment.seeds import seed_of
from phinas.experiment.trial_store import ORPHAN, Ledger, Value
from phinas.nas.cost_constraint import Gate, require_reachable
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.latency import Latencies
from phinas.nas.objective import REWARD, known_latencies, reward_of, reward_the_held, weight_of
from phinas.nas.pareto import pareto_front
from phinas.nas.problem import Problem, distributions_of
from phinas.nas.proposals import Proposals
from phinas.nas.pruning import Pruning, require_reports
from phinas.nas.reward import Reward
from phinas.nas.study import CHANGED, Proposer
from phinas.nas.trial import (
    Trial,
    UnderWay,
    cost_in,
    judged,
    measured_trials,
    price_of,
    trial_attributes,
)
from phinas.space.cost import cost
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import Stopwatch

Notify = Callable[[int, int, str], None]


@dataclass(frozen=True)
class SearchResult:
    """trials: the measured ones; reward: what judged them, or, where the search was for a front,
    what is to choose from it;
    exhausted: the budget was not spent since no further network inside the gate was found (in a
    space of at most gate.ENUMERABLE networks: since there is none); why_weight: what the reward's
    weight comes from, if it was estimated."""

    trials: list[Trial]
    reward: Reward
    exhausted: bool
    pareto: bool = False
    why_weight: str = ""


def gate_of(section: SearchSection) -> Gate:
    return Gate(section.min_flops or 0.0, section.max_flops or math.inf)


class _Search:
    """A search while it runs. All of its state follows from the record, so a new one on the same
    record carries on.

    reward: None as long as its weight is to be estimated: then the first trials are drawn at
    random, held, and never pruned.
    """

    def __init__(
        self,
        space: SearchSpace,
        section: SearchSection,
        reward: Reward | None,
        latencies: Latencies | None,
        *,
        seed: int,
        ledger: Ledger,
        executor: Executor,
        evaluator: Evaluator,
    ) -> None:
        self.section, self.seed = section, seed
        self.ledger, self.executor, self.evaluator, self.latencies = (
            ledger,
            executor,
            evaluator,
            latencies,
        )
        self.holding = reward is None
        self.budget = FIRST_TRIALS if self.holding else section.trials
        self.reward = reward or Reward("soft", 0.0, 1.0, section.cost)  # accuracy alone
        self.again = ledger.recover()
        history = [row for row in ledger.rows() if row.attributes.get("reason") != ORPHAN]
        self.problem = Problem(
            space, gate_of(section), self.reward, pareto=section.reward == "pareto"
        )
        self.proposer = Proposer(
            self.problem, "random" if self.holding else section.strategy, seed=seed, history=history
        )
        seen = {row.attributes["spec_id"] for row in history}
        self.proposals = Proposals(self.problem, self.proposer, seen, seed=seed)
        self.next_proposal = len(history)
        self.finished = sum(row.state.is_finished() or row.held for row in history)
        self.trials = measured_trials(history)
        self.under_way: dict[str, UnderWay] = {}
        self.timed: dict[str, UnderWay] = {}
        self.exhausted = False
        self.failures: list[
            str
            # reasons since the last success; not from the record: its cause may have been seen to
        ] = []
        self.pruner = "none" if self.holding else section.pruner
        self.pruning = Pruning(self.pruner, epochs=section.recipe.epochs, seed=seed)
        self.pruning.replay(
            history,
            lambda row, seen: self.reward(seen, cost_in(self.reward.metric, row.attributes)),
        )

    def run(self, notify: Notify) -> None:
        """Until the budget is spent or the space is exhausted."""
        notify(self.finished, self.section.trials, self.describe())
        while True:
            self.fill()
            if not self.under_way and not self.timed:
                return
            text = self.settle()
            notify(self.finished, self.section.trials, text)

    def fill(self) -> None:
        """Start trials in all free slots, those that a killed driver left first."""
        while len(self.under_way) + len(self.timed) < self.executor.slots:
            if self.again:
                row = self.again.pop(0)
                spec = ArchSpec.from_dict(row.attributes["spec"])
                self._start(UnderWay(row.number, row.attributes["proposal"], spec))
            elif self.next_proposal < self.budget and not self.exhausted:
                self._start_proposal()
            else:
                return

    def settle(self) -> str:
        """Wait for a job to end, record it and tell the strategy; says what it came to."""
        result = self.executor.next_result()
        if result.key in self.timed:
            return self._settle_timing(result)
        ended = self.under_way.pop(result.key)
        price = self._price(ended.spec)

        def value(measurement: Measurement) -> Value | None:
            if self.holding:
                return None
            reward = self.reward(measurement.accuracy, price)
            return [reward, price] if self.problem.pareto else reward

        outcome = record(
            self.ledger,
            ended.number,
            result,
            value=value,
            reports=ended.heard,
            pruned=self._why_pruned(ended),
        )
        if outcome.measurement is None:
            return self._fail(ended.proposal, outcome.reason)
        self.finished += 1
        self.failures = []
        if outcome.reason:
            self.proposer.prune(
                ended.proposal,
                {step: self.reward(seen, price) for step, seen in ended.heard.items()},
            )
            self.pruning.end(ended.proposal, TrialState.PRUNED)
            return f"{outcome.reason}; {self.describe()}"
        reward = self.reward(outcome.measurement.accuracy, price)
        latency = self.latencies.milliseconds(ended.spec) if self.latencies else None
        measured = Trial(
            ended.number,
            ended.proposal,
            ended.spec,
            cost(ended.spec),
            reward,
            outcome.measurement,
            latency,
        )
        self.trials.append(measured)
        self.proposer.tell(ended.proposal, reward, outcome.measurement, price)
        self.pruning.end(ended.proposal, TrialState.COMPLETE)
        return self.describe()

    def _settle_timing(self, result: Result) -> str:
        """A network that was timed is trained now."""
        ended = self.timed.pop(result.key)
        if result.value is None or self.latencies is None:
            reason = f"its latency could not be measured: {result.reason}"
            self.ledger.fail(ended.number, reason, attempts=result.attempts)
            return self._fail(ended.proposal, reason)
        self.latencies.learn(ended.spec, result.value)
        self._start(ended)
        return self.describe()

    def _fail(self, proposal: int, reason: str) -> str:
        """Tell the strategy of a failure. Raises NothingFound where there were too many in a
        row.
        """
        self.finished += 1
        self.proposer.tell(proposal, math.nan, None)
        self.pruning.end(proposal, TrialState.FAIL)
        self.failures.append(reason)
        if len(self.failures) < self.section.stop_after_failures:
            return f"a trial failed: {reason[:300]}"
        left = self.section.trials - self.finished
        go_on = (
            f"then `phinas resume` goes on with the other {left}"
            if left
            else "and raise search.trials, or use a new --out"
        )
        raise NothingFound(
            f"{len(self.failures)} trials in a row failed (search.stop_after_failures): "
            f"{counted_reasons(self.failures)}. "
            f"See to the cause, {go_on}"
        )

    def describe(self) -> str:
        """What the search has come to so far."""
        if not self.trials and not (self.holding and self.finished):
            return "nothing measured yet"
        if self.holding:
            return (
                f"{self.finished} of the first {self.budget} networks, drawn at random to "
                "estimate w from"
            )
        if self.problem.pareto:
            front = pareto_front(self.trials, self.reward.metric)
            return (
                f"front of {len(front)} networks, {front[0].accuracy:.1%} to "
                f"{front[-1].accuracy:.1%}"
            )
        best = max(self.trials, key=lambda trial: trial.reward)
        estimated = (
            f" (w = {self.reward.weight:g}, estimated)" if self.section.weight == "auto" else ""
        )
        timed = f" and {best.latency_ms:.3g} ms" if best.latency_ms is not None else ""
        return f"best {best.accuracy:.1%} at {best.cost.flops / 1e6:.3g}M FLOPs{timed}{estimated}"

    def _price(self, spec: ArchSpec) -> float:
        return (
            self.latencies.milliseconds(spec)
            if self.latencies
            else price_of(spec, self.reward.metric)
        )

    def _start_proposal(self) -> None:
        proposed = self.proposals.settle(self.next_proposal)
        if proposed is None:
            self.exhausted = True
            return
        spec, choices, refused = proposed
        proposal, self.next_proposal = self.next_proposal, self.next_proposal + 1
        self.pruning.begin(proposal)
        attributes = trial_attributes(proposal, spec, self._job(spec).key, refused)
        number = self.ledger.begin(choices, distributions_of(self.problem.space), **attributes)
        self._start(UnderWay(number, proposal, spec))

    def _start(self, trial: UnderWay) -> None:
        timing = self.latencies.job(trial.spec) if self.latencies else None
        if timing is not None:
            self.timed[timing.key] = trial
            self.executor.submit(timing)
            return
        if self.latencies is not None:
            self.ledger.annotate(trial.number, **self.latencies.facts(trial.spec))
        job = self._job(trial.spec)
        self.under_way[job.key] = trial
        self.executor.submit(job, None if self.pruner == "none" else partial(self._hear, trial))

    def _job(self, spec: ArchSpec) -> Job:
        # One seed for all: candidates share their luck with initial weights and data order as far
        # as they can.
        return self.evaluator.job(spec, self.section.recipe, seed_of(self.seed, "search"))

    def _hear(self, trial: UnderWay, step: int, accuracy: float) -> bool:
        """Whether a trial goes on after what it reported. One that was begun again reports again,
        and is told the same.
        """
        if step not in trial.heard:
            trial.heard[step] = accuracy
            if self.pruning.stops(
                trial.proposal, step, self.reward(accuracy, self._price(trial.spec))
            ):
                trial.stopped_at = step
        return trial.stopped_at is None or step < trial.stopped_at

    def _why_pruned(self, trial: UnderWay) -> str:
        if trial.stopped_at is None:
            return ""
        accuracy, epochs = trial.heard[trial.stopped_at], self.section.recipe.epochs
        return (
            f"pruned by {self.pruner} after {trial.stopped_at} of {epochs} epochs at {accuracy:.1%}"
        )


def search(
    space: SearchSpace,
    section: SearchSection,
    *,
    seed: int,
    ledger: Ledger,
    executor: Executor,
    evaluator: Evaluator,
    notify: Notify,
    stopwatch: Stopwatch | None = None,
) -> SearchResult:
    """Spend the budget of `section.trials` on networks of `space`, carrying on from what `ledger`
    has.

    `notify(done, total, text)` is called after each trial. stopwatch: times networks, where latency
    is the cost. Raises InputError where no network meets the gate, NothingFound where trial after
    trial fails.
    """
    require_reports(section.pruner, section.evaluator, reports=evaluator.reports)
    if ledger.distributions not in ({}, distributions_of(space)):
        raise InputError(f"search.space: {space.name!r} {CHANGED}")
    if not ledger.rows():
        require_reachable(space, gate_of(section), seed=seed_of(seed, "gate"))
    latencies = known_latencies(section, ledger, stopwatch)
    target = (
        latencies.time_apart(space.base, executor) if latencies and section.target is None else None
    )
    pareto = section.reward == "pareto"

    def carry_on(reward: Reward | None) -> bool:
        state = _Search(
            space,
            section,
            reward,
            latencies,
            seed=seed,
            ledger=ledger,
            executor=executor,
            evaluator=evaluator,
        )
        state.run(notify)
        return state.exhausted

    weight, exhausted = None, False
    if pareto:
        exhausted = carry_on(reward_of(section, space, weight=0.0, target=target))
    elif section.weight == "auto" and REWARD not in ledger.notes:
        carry_on(None)
    if section.weight == "auto" or (pareto and section.weight is None):
        weight = weight_of(ledger, section, seed=seed)
    reward = reward_of(section, space, weight=weight.value if weight else None, target=target)
    ledger.note(REWARD, reward.to_dict() | {"why": weight.why if weight else ""})
    if not pareto:
        reward_the_held(ledger, reward)
        exhausted = carry_on(reward)
    rows = ledger.rows()
    trials = measured_trials(rows)
    if not trials:
        reasons = [row.attributes["reason"] for row in rows if row.attributes["reason"] != ORPHAN]
        raise NothingFound(f"no trial gave a measurement: {counted_reasons(reasons)}")
    return SearchResult(
        judged(trials, reward) if pareto else trials,
        reward,
        exhausted,
        pareto,
        weight.why if weight else "",
    )
