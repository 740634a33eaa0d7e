"""A search: run its trials, and estimate the exponent of the reward if it is not configured.

With `reward_exponent: auto`, the first trials are sampled at random and get no objective value yet.
When all of them have ended, the exponent is estimated from them and recorded, their rewards are
recorded, and the strategy proposes all further trials. A recorded exponent is not estimated again,
so an interrupted search continues like an uninterrupted one.
"""

import math
from dataclasses import dataclass

from phinas.experiment.artifacts.baseline_file import ExponentEstimate
from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import Executor
from phinas.experiment.job_list import summarize_reasons
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.storage.trial_record import drop_replaced
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint, require_feasible
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.objective import (
    estimate_exponent,
    make_latency_cache,
    make_search_reward,
    measure_default_target,
    read_reward_record,
    record_reward,
    score_unscored_trials,
)
from phinas.nas.problem import Problem, make_distributions, make_pool
from phinas.nas.pruning import require_reports
from phinas.nas.reward import Reward
from phinas.nas.search_loop import ProgressCallback, SearchLoop
from phinas.nas.search_state.history import SPACE_CHANGED
from phinas.nas.search_state.pauses import SearchPauses
from phinas.nas.search_state.state import SearchState
from phinas.nas.strategies.loading import load_strategy, resolve_pausing
from phinas.nas.surrogate.transfer import EarlierSearch
from phinas.nas.trial import Trial, apply_reward, completed_trials
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.training.timing.latency import LatencyTimer


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        trials: The complete trials.
        reward: The reward of the trials. In a search for a Pareto front, the reward that selects
            from the front.
        space_exhausted: Whether the search ended before its budget because no other network within
            the cost limits was found. In a space of at most MAX_ENUMERABLE networks there is none.
        pareto: Whether a Pareto front was searched for.
        exponent_estimate: How the exponent of the reward was estimated. None if it was configured.
    """

    trials: list[Trial]
    reward: Reward
    space_exhausted: bool
    pareto: bool = False
    exponent_estimate: ExponentEstimate | None = None


def make_cost_constraint(section: SearchSection) -> CostConstraint:
    return CostConstraint(section.min_flops or 0.0, section.max_flops or math.inf)


def search(  # noqa: PLR0913 - what a search needs
    space: SearchSpace,
    section: SearchSection,
    *,
    seed: int,
    trial_store: TrialStore,
    executor: Executor,
    evaluator: Evaluator,
    on_progress: ProgressCallback,
    earlier_searches: tuple[EarlierSearch, ...] = (),
    latency_timer: LatencyTimer | None = None,
) -> SearchResult:
    """Run a search, or continue it from the recorded trials.

    Args:
        space: The search space.
        section: The configuration. `section.trials` is the budget, in full trainings.
        seed: Seed of the search.
        trial_store: The record.
        executor: Runs the trainings.
        evaluator: Describes the trainings.
        on_progress: Called with (done, total, text) at the start and after each training, when its
            result is recorded and before the next one is proposed.
        earlier_searches: Earlier searches of the space, from which the strategy may learn.
        latency_timer: Times networks. Needed if latency is the cost.

    Raises:
        InputError: The configuration is wrong, or no network satisfies the cost constraint.
        NoResultError: Too many trials fail in a row, or none is complete.
    """
    _check(space, section, evaluator, trial_store, seed=seed)
    can_pause = resolve_pausing(
        load_strategy(section.strategy), section, supports_pausing=evaluator.supports_pausing
    )
    latency_cache = make_latency_cache(section, trial_store, latency_timer)
    target = measure_default_target(section, space, latency_cache, executor)

    def run_loop(reward: Reward, *, estimating_exponent: bool = False) -> bool:
        problem = Problem(
            space,
            make_cost_constraint(section),
            reward,
            pareto=section.reward == "pareto",
            epochs=section.recipe.epochs,
            can_pause=can_pause and not estimating_exponent,
            scores_choices=evaluator.uses_choices,
            pool=make_pool(space, evaluator.pool),
            earlier_searches=earlier_searches,
        )
        state = SearchState(
            problem, section, trial_store, seed=seed, estimating_exponent=estimating_exponent
        )
        pauses = SearchPauses(trial_store, problem.reward)
        SearchLoop(state, executor, evaluator, latency_cache, pauses, seed=seed).run(on_progress)
        return state.space_exhausted

    pareto, space_exhausted = section.reward == "pareto", False
    if pareto:
        space_exhausted = run_loop(make_search_reward(section, space, exponent=0.0, target=target))
    elif section.reward_exponent == "auto" and read_reward_record(trial_store.study_attrs) is None:
        score_only = Reward("soft", 0.0, 1.0, section.cost)
        run_loop(score_only, estimating_exponent=True)
    estimate = estimate_exponent(trial_store, section, seed=seed)
    reward = make_search_reward(
        section, space, exponent=estimate.value if estimate else None, target=target
    )
    record_reward(trial_store, reward, estimate)
    if not pareto:
        score_unscored_trials(trial_store, reward)
        space_exhausted = run_loop(reward)
    trials = completed_trials(trial_store.records())
    if not trials:
        raise NoResultError(_no_result(trial_store))
    return SearchResult(
        apply_reward(trials, reward) if pareto else trials,
        reward,
        space_exhausted,
        pareto,
        estimate,
    )


def _check(
    space: SearchSpace,
    section: SearchSection,
    evaluator: Evaluator,
    trial_store: TrialStore,
    *,
    seed: int,
) -> None:
    """Raises InputError if the configuration or the record does not fit the search."""
    require_reports(section.pruner, section.evaluator, reports_progress=evaluator.reports_progress)
    if trial_store.distributions not in ({}, make_distributions(space)):
        raise InputError(f"search.space: {space.name!r} {SPACE_CHANGED}")
    if not trial_store.records():
        require_feasible(space, make_cost_constraint(section), seed=derive_seed(seed, "gate"))


def _no_result(trial_store: TrialStore) -> str:
    """Why a search has no complete trial."""
    records = drop_replaced(trial_store.records())
    num_paused = sum(record.was_closed_while_paused for record in records)
    if num_paused:
        return (
            f"no training was completed, and {num_paused} were paused when the budget was spent; "
            "raise search.trials"
        )
    reasons = [record.reason for record in records]
    return f"no trial gave a measurement: {summarize_reasons(reasons)}"
