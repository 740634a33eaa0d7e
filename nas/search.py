"""The search: ask, gate, train, tell, until the budget is spent or the space is exhausted.

A proposal is settled before it costs anything: decoded, priced, held against the gate and against what was measured
before (networks are compared, not strings of choices). What is refused is asked again with other random numbers, then looked
for beside what the strategy wanted and has been measured, then drawn uniformly, then enumerated or descended to, all bounded,
so a trial is never spent on a network that is known.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from optuna.trial import TrialState

from experiment.batch import counted_reasons, record
from experiment.config import SearchSection
from experiment.errors import NothingFound
from experiment.executors import Executor, Job
from experiment.measurement import Measurement
from experiment.seeds import seed_of
from experiment.store import ORPHAN, Ledger
from nas.evaluators import Evaluator
from nas.gate import ENUMERABLE, Gate, approach, require_reachable
from nas.problem import Problem, distributions_of
from nas.pruning import Pruning, require_reports
from nas.reward import Reward, make_reward
from nas.study import Proposer
from nas.trial import Trial, UnderWay, measured_trials, trial_attributes
from space.cost import cost
from space.search_space import Choices, SearchSpace
from space.spec import ArchSpec

ASKS = 32
KNOWN_ASKS = 2  # a strategy that has converged proposes what is known again and again, and an ask is dear
DRAWS = 500
LAST_DRAWS = 20_000

Notify = Callable[[int, int, str], None]


@dataclass(frozen=True)
class SearchResult:
    """trials: the measured ones; exhausted: the budget was not spent since no further network inside the gate was found (in
    a space of at most gate.ENUMERABLE networks: since there is none)."""

    trials: list[Trial]
    reward: Reward
    exhausted: bool


def reward_of(section: SearchSection, space: SearchSpace) -> Reward:
    target = section.target_flops or float(cost(space.base).flops)
    return make_reward(section.reward, weight=section.weight, target=target)


def gate_of(section: SearchSection) -> Gate:
    return Gate(section.min_flops or 0.0, section.max_flops or math.inf)


class _Search:
    """A search while it runs. All of its state follows from the record, so a new one on the same record carries on."""

    def __init__(
        self, space: SearchSpace, section: SearchSection, *, seed: int, ledger: Ledger, executor: Executor, evaluator: Evaluator
    ) -> None:
        self.space, self.section, self.seed = space, section, seed
        self.ledger, self.executor, self.evaluator = ledger, executor, evaluator
        self.gate = gate_of(section)
        self.reward = reward_of(section, space)
        self.again = ledger.recover()
        history = [row for row in ledger.rows() if row.attributes.get("reason") != ORPHAN]
        self.problem = Problem(space, self.gate, self.reward)
        self.proposer = Proposer(self.problem, section.strategy, seed=seed, history=history)
        self.seen = {row.attributes["spec_id"] for row in history}
        self.next_proposal = len(history)
        self.finished = sum(row.state.is_finished() for row in history)
        self.best = max(measured_trials(history), key=lambda trial: trial.reward, default=None)
        self.under_way: dict[str, UnderWay] = {}
        self.exhausted = False
        self.failures: list[str] = []  # reasons since the last success; not from the record: its cause may have been seen to
        require_reports(section.pruner, section.evaluator, reports=evaluator.reports)
        self.pruning = Pruning(section.pruner, epochs=section.recipe.epochs, seed=seed)
        self.pruning.replay(history, lambda row, accuracy: self.reward(accuracy, row.attributes["flops"]))

    def fill(self) -> None:
        """Start trials in all free slots, those that a killed driver left first."""
        while len(self.under_way) < self.executor.slots:
            if self.again:
                row = self.again.pop(0)
                self._start(ArchSpec.from_dict(row.attributes["spec"]), row.number, row.attributes["proposal"])
            elif self.next_proposal < self.section.trials and not self.exhausted:
                self._start_proposal()
            else:
                return

    def settle(self) -> str:
        """Wait for a trial to end, record it and tell the strategy; says what it came to."""
        result = self.executor.next_result()
        ended = self.under_way.pop(result.key)
        price = cost(ended.spec)

        def value(measurement: Measurement) -> float:
            return self.reward(measurement.accuracy, price.flops)

        outcome = record(self.ledger, ended.number, result, value=value, reports=ended.heard, pruned=self._why_pruned(ended))
        self.finished += 1
        if outcome.measurement is None:
            return self._fail(ended.proposal, outcome.reason)
        self.failures = []
        if outcome.reason:
            self.proposer.prune(ended.proposal, {step: self.reward(seen, price.flops) for step, seen in ended.heard.items()})
            self.pruning.end(ended.proposal, TrialState.PRUNED)
            return f"{outcome.reason}; {self.describe_best()}"
        trial = Trial(ended.number, ended.proposal, ended.spec, price, value(outcome.measurement), outcome.measurement)
        self.proposer.tell(ended.proposal, trial.reward, trial.measurement)
        self.pruning.end(ended.proposal, TrialState.COMPLETE)
        if self.best is None or trial.reward > self.best.reward:
            self.best = trial
        return self.describe_best()

    def _fail(self, proposal: int, reason: str) -> str:
        """Tell the strategy of a failure. Raises NothingFound where there were too many in a row."""
        self.proposer.tell(proposal, math.nan, None)
        self.pruning.end(proposal, TrialState.FAIL)
        self.failures.append(reason)
        if len(self.failures) < self.section.stop_after_failures:
            return f"a trial failed: {reason}"
        left = self.section.trials - self.finished
        go_on = f"then `phinas resume` goes on with the other {left}" if left else "and raise search.trials, or use a new --out"
        raise NothingFound(
            f"{len(self.failures)} trials in a row failed (search.stop_after_failures): {counted_reasons(self.failures)}. "
            f"See to the cause, {go_on}"
        )

    def describe_best(self) -> str:
        if self.best is None:
            return "nothing measured yet"
        return f"best {self.best.accuracy:.1%} at {self.best.cost.flops / 1e6:.3g}M FLOPs"

    def _start(self, spec: ArchSpec, number: int, proposal: int) -> None:
        job = self._job(spec)
        trial = self.under_way[job.key] = UnderWay(number, proposal, spec)
        self.executor.submit(job, None if self.section.pruner == "none" else partial(self._hear, trial))

    def _hear(self, trial: UnderWay, step: int, accuracy: float) -> bool:
        """Whether a trial goes on after what it reported. One that was begun again reports again, and is told the same."""
        if step not in trial.heard:
            trial.heard[step] = accuracy
            if self.pruning.stops(trial.proposal, step, self.reward(accuracy, cost(trial.spec).flops)):
                trial.stopped_at = step
        return trial.stopped_at is None or step < trial.stopped_at

    def _why_pruned(self, trial: UnderWay) -> str:
        if trial.stopped_at is None:
            return ""
        accuracy, epochs = trial.heard[trial.stopped_at], self.section.recipe.epochs
        return f"pruned by {self.section.pruner} after {trial.stopped_at} of {epochs} epochs at {accuracy:.1%}"

    def _start_proposal(self) -> None:
        proposed = self._propose()
        if proposed is None:
            self.exhausted = True
            return
        spec, choices, refused = proposed
        proposal, self.next_proposal = self.next_proposal, self.next_proposal + 1
        self.seen.add(spec.spec_id)
        self.pruning.begin(proposal)
        attributes = trial_attributes(proposal, spec, self._job(spec).key, refused)
        self._start(spec, self.ledger.begin(choices, distributions_of(self.space), **attributes), proposal)

    def _job(self, spec: ArchSpec) -> Job:
        # One seed for all: candidates share their luck with initial weights and data order as far as they can.
        return self.evaluator.job(spec, self.section.recipe, seed_of(self.seed, "search"))

    def _propose(self) -> tuple[ArchSpec, Choices, int] | None:
        """An unseen network inside the gate, its choices, and how many were refused before it; None if there is none left."""
        known: list[Choices] = []
        asked = 0
        while asked < ASKS and len(known) < KNOWN_ASKS:
            choices = self.proposer.ask(self.next_proposal, asked)
            spec = self._fresh(choices)
            if spec is not None:
                self.proposer.take(self.next_proposal)
                return spec, choices, asked
            self.proposer.refuse()
            asked += 1
            if self.space.decode(choices).spec_id in self.seen:
                known.append(choices)
        for refused, choices in enumerate(self._elsewhere(known), start=asked):
            spec = self._fresh(choices)
            if spec is not None:
                self.proposer.insist(self.next_proposal, choices)
                return spec, choices, refused
        return None

    def _fresh(self, choices: Choices) -> ArchSpec | None:
        spec = self.space.decode(choices)
        return spec if self.gate.admits(cost(spec).flops) and spec.spec_id not in self.seen else None

    def _elsewhere(self, known: list[Choices]) -> Iterator[Choices]:
        generator = random.Random(seed_of(self.seed, "elsewhere", self.next_proposal))
        for choices in known:
            around = list(self.space.neighbours(choices))
            generator.shuffle(around)
            yield from around
        for _ in range(DRAWS):
            yield self.space.sample(generator)
        if self.space.size <= ENUMERABLE:
            yield from self.space.enumerate()
        else:
            for choices, _ in approach(self.space, self.gate, generator):
                yield choices
                yield from self.space.neighbours(choices)
            for _ in range(LAST_DRAWS):
                yield self.space.sample(generator)


def search(
    space: SearchSpace,
    section: SearchSection,
    *,
    seed: int,
    ledger: Ledger,
    executor: Executor,
    evaluator: Evaluator,
    notify: Notify,
) -> SearchResult:
    """Spend the budget of `section.trials` on networks of `space`, carrying on from what `ledger` has.

    `notify(done, total, text)` is called after each trial. Raises InputError where no network meets the gate, NothingFound
    where trial after trial fails.
    """
    state = _Search(space, section, seed=seed, ledger=ledger, executor=executor, evaluator=evaluator)
    if not state.seen:
        require_reachable(space, state.gate, seed=seed_of(seed, "gate"))
    notify(state.finished, section.trials, state.describe_best())
    while True:
        state.fill()
        if not state.under_way:
            break
        text = state.settle()
        notify(state.finished, section.trials, text)
    rows = ledger.rows()
    trials = measured_trials(rows)
    if not trials:
        reasons = [row.attributes["reason"] for row in rows if row.attributes["reason"] != ORPHAN]
        raise NothingFound(f"no trial gave a measurement: {counted_reasons(reasons)}")
    return SearchResult(trials, state.reward, state.exhausted)
