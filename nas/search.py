"""The search: ask, gate, train, tell, until the budget is spent or the space is exhausted.

A proposal is settled before it costs anything: decoded, priced, held against the gate and against what was measured
before (networks are compared, not strings of choices). What is refused is asked again with other random numbers, then looked
for beside what the strategy wanted and has been measured, then drawn uniformly, then enumerated or descended to, all bounded,
so a trial is never spent on a network that is known.

Under `weight: auto` the first trials are drawn at random and held: measured, but without a value. When all of them have
ended, the weight is estimated from them and noted once and for all, they get their rewards, and the strategy takes over. What
is noted is never estimated again, so a search that was killed anywhere goes on as an unbroken one.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from experiment.batch import record
from experiment.config import FIRST_TRIALS, SearchSection
from experiment.errors import NothingFound
from experiment.executors import Executor, Job, Result
from experiment.measurement import Measurement
from experiment.seeds import seed_of
from experiment.store import ORPHAN, Ledger, Value
from nas.evaluators import Evaluator
from nas.gate import ENUMERABLE, Gate, approach, require_reachable
from nas.latency import Latencies
from nas.objective import REWARD, known_latencies, reward_of, reward_the_held, weight_of
from nas.pareto import pareto_front
from nas.problem import Problem
from nas.reward import Reward
from nas.study import Proposer, distributions_of
from nas.trial import Trial, judged, measured_trials, trial_attributes
from space.cost import cost
from space.search_space import Choices, SearchSpace
from space.spec import ArchSpec
from training.latency import Stopwatch

ASKS = 32
KNOWN_ASKS = 2  # a strategy that has converged proposes what is known again and again, and an ask is dear
DRAWS = 500
LAST_DRAWS = 20_000
FAILURES_IN_A_ROW = 10

Notify = Callable[[int, int, str], None]


@dataclass(frozen=True)
class SearchResult:
    """trials: the measured ones; reward: what judged them, or, where the search was for a front, what is to choose from it;
    exhausted: the budget was not spent since no further network inside the gate was found (in a space of at most
    gate.ENUMERABLE networks: since there is none); why_weight: what the reward's weight comes from, if it was estimated."""

    trials: list[Trial]
    reward: Reward
    exhausted: bool
    pareto: bool = False
    why_weight: str = ""


def gate_of(section: SearchSection) -> Gate:
    return Gate(section.min_flops or 0.0, section.max_flops or math.inf)


class _Search:
    """A search while it runs. All of its state follows from the record, so a new one on the same record carries on.

    reward: None as long as its weight is to be estimated: then the first trials are drawn at random, and held.
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
        self.space, self.section, self.seed = space, section, seed
        self.ledger, self.executor, self.evaluator, self.latencies = ledger, executor, evaluator, latencies
        self.gate = gate_of(section)
        self.holding = reward is None
        self.budget = FIRST_TRIALS if self.holding else section.trials
        self.reward = reward or Reward("soft", 0.0, 1.0, section.cost)  # accuracy alone
        self.again = ledger.recover()
        history = [row for row in ledger.rows() if row.attributes.get("reason") != ORPHAN]
        self.problem = Problem(space, self.gate, self.reward, pareto=section.reward == "pareto")
        self.proposer = Proposer(self.problem, "random" if self.holding else section.strategy, seed=seed, history=history)
        self.seen = {row.attributes["spec_id"] for row in history}
        self.next_proposal = len(history)
        self.finished = sum(row.state.is_finished() or row.held for row in history)
        self.trials = measured_trials(history)
        self.under_way: dict[str, tuple[int, int, ArchSpec]] = {}
        self.timed: dict[str, tuple[int, int, ArchSpec]] = {}
        self.exhausted = False
        ended = [row for row in reversed(history) if row.state.is_finished() or row.held]
        self.failures = sum(1 for _ in itertools.takewhile(lambda row: not (row.done or row.held), ended))

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
                self._start(ArchSpec.from_dict(row.attributes["spec"]), row.number, row.attributes["proposal"])
            elif self.next_proposal < self.budget and not self.exhausted:
                self._start_proposal()
            else:
                return

    def settle(self) -> str:
        """Wait for a job to end, record it and tell the strategy; says what it came to."""
        result = self.executor.next_result()
        if result.key in self.timed:
            return self._settle_timing(result)
        number, proposal, spec = self.under_way.pop(result.key)
        price = self._price(spec)

        def value(measurement: Measurement) -> Value | None:
            if self.holding:
                return None
            reward = self.reward(measurement.accuracy, price)
            return [reward, price] if self.problem.pareto else reward

        outcome = record(self.ledger, number, result, value=value)
        if outcome.measurement is None:
            return self._fail(proposal, outcome.reason)
        self.finished += 1
        self.failures = 0
        reward = self.reward(outcome.measurement.accuracy, price)
        latency = self.latencies.milliseconds(spec) if self.latencies else None
        self.trials.append(Trial(number, proposal, spec, cost(spec), reward, outcome.measurement, latency))
        self.proposer.tell(proposal, reward, outcome.measurement, price)
        return self.describe()

    def _settle_timing(self, result: Result) -> str:
        """A network that was timed is trained now."""
        number, proposal, spec = self.timed.pop(result.key)
        if result.value is None or self.latencies is None:
            reason = f"its latency could not be measured: {result.reason}"
            self.ledger.fail(number, reason, attempts=result.attempts)
            return self._fail(proposal, reason)
        self.latencies.learn(spec, result.value)
        self._start(spec, number, proposal)
        return self.describe()

    def _fail(self, proposal: int, reason: str) -> str:
        self.finished += 1
        self.proposer.tell(proposal, math.nan, None)
        self.failures += 1
        if self.failures >= FAILURES_IN_A_ROW:
            raise NothingFound(f"{self.failures} trials in a row failed; the last: {reason}")
        return f"a trial failed: {reason}"

    def describe(self) -> str:
        """What the search has come to so far."""
        if not self.trials and not (self.holding and self.finished):
            return "nothing measured yet"
        if self.holding:
            return f"{self.finished} of the first {self.budget} networks, drawn at random to estimate w from"
        if self.problem.pareto:
            front = pareto_front(self.trials, self.reward.metric)
            return f"front of {len(front)} networks, {front[0].accuracy:.1%} to {front[-1].accuracy:.1%}"
        best = max(self.trials, key=lambda trial: trial.reward)
        estimated = f" (w = {self.reward.weight:g}, estimated)" if self.section.weight == "auto" else ""
        timed = f" and {best.latency_ms:.3g} ms" if best.latency_ms is not None else ""
        return f"best {best.accuracy:.1%} at {best.cost.flops / 1e6:.3g}M FLOPs{timed}{estimated}"

    def _price(self, spec: ArchSpec) -> float:
        return self.latencies.milliseconds(spec) if self.latencies else float(getattr(cost(spec), self.reward.metric))

    def _start(self, spec: ArchSpec, number: int, proposal: int) -> None:
        timing = self.latencies.job(spec) if self.latencies else None
        if timing is not None:
            self.timed[timing.key] = (number, proposal, spec)
            self.executor.submit(timing)
            return
        if self.latencies is not None:
            self.ledger.annotate(number, **self.latencies.facts(spec))
        job = self._job(spec)
        self.under_way[job.key] = (number, proposal, spec)
        self.executor.submit(job)

    def _start_proposal(self) -> None:
        proposed = self._propose()
        if proposed is None:
            self.exhausted = True
            return
        spec, choices, refused = proposed
        proposal, self.next_proposal = self.next_proposal, self.next_proposal + 1
        self.seen.add(spec.spec_id)
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
    stopwatch: Stopwatch | None = None,
) -> SearchResult:
    """Spend the budget of `section.trials` on networks of `space`, carrying on from what `ledger` has.

    `notify(done, total, text)` is called after each trial. stopwatch: times networks, where latency is the cost. Raises
    InputError where no network meets the gate, NothingFound where trial after trial fails.
    """
    if not ledger.rows():
        require_reachable(space, gate_of(section), seed=seed_of(seed, "gate"))
    latencies = known_latencies(section, ledger, stopwatch)
    target = latencies.time_base(space.base, executor) if latencies and section.target is None else None
    pareto = section.reward == "pareto"

    def carry_on(reward: Reward | None) -> bool:
        state = _Search(space, section, reward, latencies, seed=seed, ledger=ledger, executor=executor, evaluator=evaluator)
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
    trials = measured_trials(ledger.rows())
    if not trials:
        raise NothingFound("no trial gave a measurement; the report lists the reasons")
    return SearchResult(judged(trials, reward) if pareto else trials, reward, exhausted, pareto, weight.why if weight else "")
