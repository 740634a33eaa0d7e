"""Checks that a strategy can search any space completely, and only within the cost limits."""

from dataclasses import replace
from typing import Any

from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.interface import ReportCallback
from phinas.nas.pareto import hypervolume, pareto_front
from phinas.nas.search import SearchResult
from phinas.nas.strategies.loading import load_strategy
from phinas.nas.trial import Trial
from phinas.space.network import network_from_dict
from phinas.space.search_spaces.search_space import Decision, SearchSpace
from phinas.testing.expectations import (
    require,
    require_budget_spent,
    require_distinct,
    run_interrupted,
    run_to_the_end,
)
from phinas.testing.searches import (
    NUM_DISTINCT,
    NUM_JOINT,
    SPACE_OF_TWELVE,
    SPACE_WITH_DUPLICATES,
    SPACE_WITH_JOINT_CHOICES,
    TINY,
    UNRELIABLE,
    InterruptedExecutor,
    in_memory_store,
    list_proposals,
    pauses,
    run_search,
)

# About 370 networks, a thousandth of the space, and about a hundredth of it.
_NARROW_LIMITS: dict[str, Any] = {"min_flops": 475_000.0, "max_flops": 475_600.0}
_WIDER_LIMITS: dict[str, Any] = {"min_flops": 475_000.0, "max_flops": 480_000.0}


def check_small_space(strategy: str) -> None:
    run_to_the_end(strategy, SPACE_OF_TWELVE, 12, function=UNRELIABLE, trials=50)


def check_space_of_the_budget(strategy: str) -> None:
    if pauses(strategy):  # the budget does not determine the number of networks
        return
    trial_store = in_memory_store()
    result = run_search(strategy, trial_store, space=SPACE_OF_TWELVE, trials=12)
    require(len(list_proposals(trial_store)) == 12, "12 trials do not give 12 networks")
    require(not result.space_exhausted, "a spent budget is reported as an exhausted space")


def check_duplicate_choices(strategy: str) -> None:
    run_to_the_end(strategy, SPACE_WITH_DUPLICATES, NUM_DISTINCT, function=UNRELIABLE, trials=64)
    run_to_the_end(strategy, SPACE_WITH_JOINT_CHOICES, NUM_JOINT, function=UNRELIABLE, trials=18)


def check_single_network(strategy: str) -> None:
    decisions = (Decision("stages.0.kernel", (5,)), Decision("stages.2.depth", (2,)))
    space = SearchSpace("one", TINY.base, decisions)
    trial_store = in_memory_store()
    if pauses(strategy):  # it may never resume the training of a single network
        return
    result = run_search(strategy, trial_store, space=space, trials=3)
    require(len(list_proposals(trial_store)) == 1, "a space of one network has one trial")
    require(result.space_exhausted, "a space of one network is not exhausted by it")


def check_fixed_decision(strategy: str) -> None:
    decisions = (Decision("stages.2.depth", (3,)), *TINY.decisions[:8])
    trial_store = in_memory_store()
    space = SearchSpace("fixed", TINY.base, decisions)
    result = run_search(strategy, trial_store, space=space, trials=40)
    require_budget_spent(strategy, list_proposals(trial_store), 40)
    depths = {trial.spec.stages[2].depth for trial in result.trials}
    require(depths == {3}, "a decision of one value changes")


def _require_within(result: SearchResult, limits: dict[str, float]) -> None:
    require(bool(result.trials), "no trial is complete")
    costs = [trial.cost.flops for trial in result.trials]
    message = f"a network has FLOPs outside {limits['min_flops']:g} to {limits['max_flops']:g}"
    require(all(limits["min_flops"] <= flops <= limits["max_flops"] for flops in costs), message)


def check_narrow_limits(strategy: str) -> None:
    trial_store = in_memory_store()
    result = run_search(strategy, trial_store, trials=5, **_NARROW_LIMITS)
    expected = list_proposals(trial_store)
    require_distinct(expected)
    require_budget_spent(strategy, expected, 5)
    _require_within(result, _NARROW_LIMITS)
    trial_store = in_memory_store()
    executor = InterruptedExecutor(2)
    run_interrupted(strategy, trial_store, trials=5, executor=executor, **_NARROW_LIMITS)
    run_search(strategy, trial_store, trials=5, **_NARROW_LIMITS)
    message = "an interrupted search with narrow limits continues with other proposals"
    require(list_proposals(trial_store) == expected, message)


def check_limits(strategy: str) -> None:
    trial_store = in_memory_store()
    result = run_search(strategy, trial_store, function=UNRELIABLE, trials=15, **_WIDER_LIMITS)
    proposals = list_proposals(trial_store)
    require_distinct(proposals)
    require_budget_spent(strategy, proposals, 15)
    _require_within(result, _WIDER_LIMITS)


def check_nothing_outside_is_trained(strategy: str) -> None:
    class CheckingExecutor(InlineExecutor):
        def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
            flops = network_from_dict(job.payload["spec"]).cost().flops
            require(300_000 <= flops <= 400_000, f"a network of {flops:,} FLOPs is trained")
            super().submit(job, on_report)

    trial_store = in_memory_store()
    limits: dict[str, Any] = {"min_flops": 300_000.0, "max_flops": 400_000.0}
    run_search(strategy, trial_store, executor=CheckingExecutor(1), **limits)
    require_budget_spent(strategy, list_proposals(trial_store), 30)


def check_impossible_limits(strategy: str) -> None:
    trial_store = in_memory_store()
    try:
        run_search(strategy, trial_store, min_flops=1.0, max_flops=2.0)
    except InputError:
        require(trial_store.records() == [], "an impossible search leaves a record")
        return
    raise AssertionError("limits that no network satisfies are accepted")


def check_other_space(strategy: str) -> None:
    trial_store = in_memory_store()
    run_search(strategy, trial_store, trials=3)
    num_records = len(trial_store.records())
    first, *others = TINY.decisions
    wider = replace(first, values=(*first.values, 9))
    for space in (
        SPACE_OF_TWELVE,
        replace(TINY, decisions=(wider, *others)),
        TINY.adapt_to(channels=1, classes=7),
    ):
        try:
            run_search(strategy, trial_store, trials=5, space=space)
        except InputError as error:
            message = "the error does not name search.space"
            require(str(error).startswith("search.space: "), message)
        else:
            raise AssertionError("a record of another search space is accepted")
    require(len(trial_store.records()) == num_records, "the refused search changes the record")


def check_pareto(strategy: str) -> None:
    if not load_strategy(strategy).supports_pareto:
        return
    trial_store = in_memory_store(pareto=True)
    result = run_search(strategy, trial_store, trials=90, reward="pareto")
    proposals = list_proposals(trial_store)
    require_distinct(proposals)
    require_budget_spent(strategy, proposals, 90, pareto=True)
    costs = [float(trial.cost.flops) for trial in result.trials]

    def front_hypervolume(trials: list[Trial]) -> float:
        front = [(float(trial.cost.flops), trial.score) for trial in pareto_front(trials)]
        return hypervolume(front, min_cost=min(costs), max_cost=max(costs))

    is_better = front_hypervolume(result.trials) > front_hypervolume(result.trials[:20])
    require(is_better, "the Pareto front after 90 trials is not better than after 20")
