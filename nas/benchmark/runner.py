"""One strategy on one evaluator with one seed, as a job of plain data: what it measured, in order.

Our strategies run through the same search as in life, on an in-memory record; peers through
`third_party`. Both see the evaluator's accuracies with noise added, if any is; the `true_rewards`
are without.
"""

import time
from contextlib import closing
from typing import Any

import optuna

from phinas.experiment.executors import Executor, Job, Result
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.interface import ReportCallback, import_function
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.trial_store import TrialStore
from phinas.nas.benchmark.third_party import THIRD_PARTY_STRATEGIES
from phinas.nas.evaluators import make_evaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.objective import make_search_reward
from phinas.nas.search import search
from phinas.nas.strategies import STRATEGIES
from phinas.nas.trial import analytic_cost
from phinas.space.cost import network_cost
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec

BENCHMARK_STRATEGIES = (*STRATEGIES, *THIRD_PARTY_STRATEGIES)


class _ProposalTimer(InlineExecutor):
    """Notes how long the driver took from one result to the next job: the time of a proposal, and
    of recording it.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self.seconds: list[float] = []
        self._last_result_time = time.perf_counter()

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._last_result_time)
        super().submit(job, on_report)

    def next_result(self) -> Result:
        result = super().next_result()
        self._last_result_time = time.perf_counter()
        return result


def run_strategy(
    *, strategy: str, space: str, section: dict[str, Any], seed: int
) -> dict[str, Any]:
    """The job. Lists over the evaluations in their order: `rewards` as the strategy saw them,
    `true_rewards`, `flops`, `seconds` of proposing each; failures are left out."""
    options = SearchSection(**section)
    search_space = load_space(space)
    noisy_evaluator = make_evaluator(options, None, limit_seconds=3600.0)
    noiseless_evaluator = make_evaluator(
        options.model_copy(update={"noise_std": 0.0}), None, limit_seconds=3600.0
    )
    with closing(_ProposalTimer()) as executor:
        run_fn = _run_phinas_strategy if strategy in STRATEGIES else _run_third_party_strategy
        spec_rewards = run_fn(strategy, search_space, options, noisy_evaluator, executor, seed)
        seconds = executor.seconds
    reward = make_search_reward(options, search_space, exponent=None)
    rewards = [observed_reward for _, observed_reward in spec_rewards]
    true_rewards = rewards
    if options.noise_std:
        true_rewards = [
            reward(
                look_up_accuracy(noiseless_evaluator, spec, options),
                analytic_cost(spec, reward.metric),
            )
            for spec, _ in spec_rewards
        ]
    return {
        "rewards": rewards,
        "true_rewards": true_rewards,
        "flops": [network_cost(spec).flops for spec, _ in spec_rewards],
        "seconds": seconds[: len(spec_rewards)],
    }


def look_up_accuracy(evaluator: Evaluator, spec: ArchSpec, options: SearchSection) -> float:
    """The accuracy of a network, here and now."""
    job = evaluator.make_job(spec, options.recipe, 0)
    return Measurement.from_dict(import_function(job.function)(**job.payload)).accuracy


def _run_phinas_strategy(
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
        trial_store=TrialStore(optuna.create_study(direction="maximize")),
        executor=executor,
        evaluator=evaluator,
        on_progress=lambda *_: None,
    )
    return [(trial.spec, trial.reward) for trial in result.trials]


def _run_third_party_strategy(
    name: str,
    space: SearchSpace,
    options: SearchSection,
    evaluator: Evaluator,
    executor: Executor,
    seed: int,
) -> list[tuple[ArchSpec, float]]:
    reward = make_search_reward(options, space, exponent=None)
    spec_rewards: list[tuple[ArchSpec, float]] = []

    def evaluate(choices: Choices) -> float:
        spec = space.decode(choices)
        executor.submit(evaluator.make_job(spec, options.recipe, derive_seed(seed, "search")))
        result = executor.next_result()
        if result.value is None:
            raise RuntimeError(f"the evaluator failed: {result.reason}")
        observed_reward = reward(
            Measurement.from_dict(result.value).accuracy, analytic_cost(spec, reward.metric)
        )
        spec_rewards.append((spec, observed_reward))
        return observed_reward

    THIRD_PARTY_STRATEGIES[name](space, evaluate, options.trials, seed)
    return spec_rewards
