"""Checks that a strategy depends on the seed and the history only, and spends its budget."""

from typing import Any

from phinas.testing.expectations import (
    require,
    require_budget_spent,
    require_distinct,
    run_interrupted,
    run_to_the_end,
)
from phinas.testing.functions import is_failing
from phinas.testing.searches import (
    NUM_DISTINCT,
    REPORTING,
    SPACE_WITH_DUPLICATES,
    TINY,
    UNRELIABLE,
    Interrupted,
    InterruptedExecutor,
    ShuffledExecutor,
    allows_pruner,
    in_memory_store,
    list_proposals,
    live_records,
    pauses,
    propose,
    run_search,
)


def check_seed(strategy: str) -> None:
    first, again, other = (propose(strategy, seed=seed) for seed in (3, 3, 4))
    require(first == again, "two searches with the same seed differ")
    other_ids = {proposal.network_id for proposal in other}
    num_shared = sum(proposal.network_id in other_ids for proposal in first)
    require(num_shared < len(first) / 3, "another seed proposes the same networks")


def check_interrupted_trainings(strategy: str) -> None:
    expected = propose(strategy, function=UNRELIABLE, trials=40)
    trial_store = in_memory_store()
    for num_jobs in (0, 12, 21):
        executor = InterruptedExecutor(num_jobs)
        run_interrupted(strategy, trial_store, function=UNRELIABLE, trials=40, executor=executor)
    run_search(strategy, trial_store, function=UNRELIABLE, trials=40)
    message = "a search that was interrupted during trainings continues with other proposals"
    require(list_proposals(trial_store) == expected, message)


def check_interrupted_between_trainings(strategy: str) -> None:
    expected = propose(strategy, trials=36)
    trial_store = in_memory_store()
    for count in (5, 30):
        num_calls = 0

        def interrupt(_done: int, _total: int, _text: str, *, after: int = count) -> None:
            nonlocal num_calls
            num_calls += 1
            if num_calls == after:
                raise Interrupted

        run_interrupted(strategy, trial_store, trials=36, on_progress=interrupt)
    run_search(strategy, trial_store, trials=36)
    message = "a search that was interrupted between trainings continues with other proposals"
    require(list_proposals(trial_store) == expected, message)


def check_larger_budget(strategy: str) -> None:
    expected = propose(strategy, trials=35)
    trial_store = in_memory_store()
    run_search(strategy, trial_store, trials=20)
    run_search(strategy, trial_store, trials=35)
    message = "a search whose budget was raised differs from one that had it from the start"
    require(list_proposals(trial_store) == expected, message)


def check_spent_budget(strategy: str) -> None:
    trial_store = in_memory_store()
    run_search(strategy, trial_store, trials=5)
    expected = list_proposals(trial_store)
    require_budget_spent(strategy, expected, 5)
    result = run_search(strategy, trial_store, trials=5, executor=InterruptedExecutor(0))
    require(list_proposals(trial_store) == expected, "a spent budget starts a training")
    require(not result.space_exhausted, "a spent budget is reported as an exhausted space")


def check_progress(strategy: str) -> None:
    trial_store = in_memory_store()
    calls: list[tuple[int, int]] = []
    run_search(strategy, trial_store, function=UNRELIABLE, trials=6)
    run_search(
        strategy,
        trial_store,
        function=UNRELIABLE,
        trials=9,
        on_progress=lambda done, total, _text: calls.append((done, total)),
    )
    if pauses(strategy):
        require(calls == sorted(calls), "the progress of the search falls")
        require(calls[-1][0] in (8, 9), "the progress does not reach the budget")
    else:
        require(calls == [(done, 9) for done in (6, 7, 8, 9)], "the progress is not 6, 7, 8, 9")


def check_failures(strategy: str) -> None:
    trial_store = in_memory_store()
    run_search(strategy, trial_store, function=UNRELIABLE, trials=60)
    records = live_records(trial_store)
    proposals = list_proposals(trial_store)
    require_distinct(proposals)
    require_budget_spent(strategy, proposals, 60)
    failing = [is_failing(TINY.decode(record.params)) for record in records]
    message = "a failed trial has a value, or a trial that did not fail is recorded as failed"
    require([record.is_failed for record in records] == failing, message)
    require(sum(failing) > 3, "the search proposes no network that fails")


def check_pruned_trials(strategy: str) -> None:
    if not allows_pruner(strategy):
        return
    options: dict[str, Any] = {"function": REPORTING, "pruner": "halving", "trials": 28}
    trial_store = in_memory_store()
    run_search(strategy, trial_store, **options)
    expected = list_proposals(trial_store)
    num_pruned = sum(record.is_pruned for record in live_records(trial_store))
    require_distinct(expected)
    require(num_pruned > 2, "no trial was pruned")
    trial_store = in_memory_store()
    run_interrupted(strategy, trial_store, executor=InterruptedExecutor(17), **options)
    run_search(strategy, trial_store, **options)
    message = "an interrupted search with pruned trials continues with other proposals"
    require(list_proposals(trial_store) == expected, message)


def check_workers(strategy: str) -> None:
    check_many_workers(strategy, 3)


def check_many_workers(strategy: str, workers: int) -> None:
    """Check a search with several trainings at a time, which end in any order."""
    runs = [
        propose(strategy, function=UNRELIABLE, trials=45, executor=ShuffledExecutor(workers))
        for _ in range(2)
    ]
    require(runs[0] == runs[1], "two searches with several workers differ")
    require_distinct(runs[0])
    require_budget_spent(strategy, runs[0], 45)
    run_to_the_end(
        strategy,
        SPACE_WITH_DUPLICATES,
        NUM_DISTINCT,
        function=UNRELIABLE,
        trials=64,
        executor=ShuffledExecutor(workers),
    )


def check_interrupted_workers(strategy: str) -> None:
    trial_store = in_memory_store()
    for num_jobs in (0, 9):
        executor = ShuffledExecutor(2, num_jobs=num_jobs)
        run_interrupted(strategy, trial_store, trials=18, executor=executor)
    started = [proposal.network_id for proposal in list_proposals(trial_store)]
    run_search(strategy, trial_store, trials=18)
    proposals = list_proposals(trial_store)
    require_distinct(proposals)
    require_budget_spent(strategy, proposals, 18)
    network_ids = [proposal.network_id for proposal in proposals]
    message = "trainings that were interrupted are not run again"
    require(network_ids[: len(started)] == started, message)
    is_finished = [record.state.is_finished() for record in live_records(trial_store)]
    require(all(is_finished), message)
