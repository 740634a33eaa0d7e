"""One searcher on one evaluator with one seed, as a job of plain data: what it measured, in order.

Our strategies run through the same search as in life, on an in-memory record; peers through the
loop of `peers`. Both see the evaluator's accuracies with noise added, if any is; the `true` rewards
are without.
"""

import time
from contextlib import closing
from typing import Any

import optuna

from phinas.experiment.executors import Executor, Job, Result
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.interface import Report, resolve
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import seed_of
from phinas.experiment.trial_store import Ledger
from phinas.nas.benchmark.third_party import PEERS
from phinas.nas.evaluators import make_evaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.objective import reward_of
from phinas.nas.search import search
from phinas.nas.strategies import STRATEGIES
from phinas.nas.trial import price_of
from phinas.space.cost import cost
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec

SEARCHERS = (*STRATEGIES, *PEERS)


class _Watch(InlineExecutor):
    """Notes how long the driver took from one result to the next job: the time of a proposal, and
    of recording it.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.seconds: list[float] = []
        self._since = time.perf_counter()

    def submit(self, job: Job, listener: Report | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._since)
        super().submit(job, listener)

    def next_result(self) -> Result:
        result = super().next_result()
        self._since = time.perf_counter()
        return result


def run(*, searcher: str, space: str, section: dict[str, Any], seed: int) -> dict[str, Any]:
    """The job. Lists over the evaluations in their order: `rewards` as the searcher saw them,
    `true` rewards, `flops`, `seconds` of proposing each; failures are left out."""
    options = SearchSection(**section)
    searched = load_space(space)
    noisy = make_evaluator(options, None, limit_seconds=3600.0)
    exact = make_evaluator(options.model_copy(update={"noise": 0.0}), None, limit_seconds=3600.0)
    with closing(_Watch()) as executor:
        compete = _ours if searcher in STRATEGIES else _peer
        measured = compete(searcher, searched, options, noisy, executor, seed)
        seconds = executor.seconds
    reward = reward_of(options, searched, weight=None)
    rewards = [seen for _, seen in measured]
    truth = rewards
    if options.noise:
        truth = [
            reward(look_up(exact, spec, options), price_of(spec, reward.metric))
            for spec, _ in measured
        ]
    return {
        "rewards": rewards,
        "true": truth,
        "flops": [cost(spec).flops for spec, _ in measured],
        "seconds": seconds[: len(measured)],
    }


def look_up(evaluator: Evaluator, spec: ArchSpec, options: SearchSection) -> float:
    """The accuracy of a network, here and now."""
    job = evaluator.job(spec, options.recipe, 0)
    return Measurement.from_dict(resolve(job.function)(**job.payload)).accuracy


def _ours(
    strategy: str,
    space: SearchSpace,
    options: SearchSection,
    evaluator: Evaluator,
    executor: Executor,
    seed: int,
) -> list[tuple[ArchSpec, float]]:
    result = search(
        space,
        options.model_copy(update={"strategy": strategy}),
        seed=seed,
        ledger=Ledger(optuna.create_study(direction="maximize")),
        executor=executor,
        evaluator=evaluator,
        notify=lambda *_: None,
    )
    return [(trial.spec, trial.reward) for trial in result.trials]


def _peer(
    name: str,
    space: SearchSpace,
    options: SearchSection,
    evaluator: Evaluator,
    executor: Executor,
    seed: int,
) -> list[tuple[ArchSpec, float]]:
    reward = reward_of(options, space, weight=None)
    measured: list[tuple[ArchSpec, float]] = []

    def evaluate(choices: Choices) -> float:
        spec = space.decode(choices)
        executor.submit(evaluator.job(spec, options.recipe, seed_of(seed, "search")))
        result = executor.next_result()
        if result.value is None:
            raise RuntimeError(f"the evaluator failed: {result.reason}")
        seen = reward(Measurement.from_dict(result.value).accuracy, price_of(spec, reward.metric))
        measured.append((spec, seen))
        return seen

    PEERS[name](space, evaluate, options.trials, seed)
    return measured
