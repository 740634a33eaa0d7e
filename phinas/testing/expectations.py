"""Expectations that several checks share, and searches that are interrupted or exhaust a space."""

from typing import Any

from phinas.experiment.storage.trial_store import TrialStore
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.testing.searches import (
    EPOCHS,
    Interrupted,
    Proposed,
    in_memory_store,
    list_proposals,
    pauses,
    run_search,
)


def require(condition: bool, message: str) -> None:
    """Raises AssertionError with this message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def require_distinct(proposals: list[Proposed]) -> None:
    """Raises AssertionError if a network was proposed twice."""
    ids = [proposal.network_id for proposal in proposals]
    require(len(ids) == len(set(ids)), "a network was proposed twice")


def require_budget_spent(
    strategy: str, proposals: list[Proposed], trials: int, *, pareto: bool = False
) -> None:
    """Raises AssertionError unless the search spent its budget.

    The budget is a number of trials, or of epochs for a strategy that resumes trainings, which none
    does in a search for a Pareto front.
    """
    if pareto or not pauses(strategy):
        message = f"{len(proposals)} trials were run with a budget of {trials}"
        require(len(proposals) == trials, message)
        return
    epochs = sum(proposal.target_epochs[-1] for proposal in proposals)
    message = f"{epochs} epochs were trained with a budget of {trials * EPOCHS}"
    require((trials - 1) * EPOCHS < epochs <= trials * EPOCHS, message)


def run_interrupted(strategy: str, trial_store: TrialStore, **options: Any) -> None:
    """Run a search that is interrupted. Raises AssertionError without an interruption."""
    try:
        run_search(strategy, trial_store, **options)
    except Interrupted:
        return
    raise AssertionError("the search ended before it was interrupted")


def run_to_the_end(
    strategy: str, space: SearchSpace, num_networks: int, **options: Any
) -> list[Proposed]:
    """Search a small space. Raises AssertionError unless every network is proposed exactly once."""
    trial_store = in_memory_store()
    result = run_search(strategy, trial_store, space=space, **options)
    proposals = list_proposals(trial_store)
    require_distinct(proposals)
    message = f"{len(proposals)} of the {num_networks} networks of the space were found"
    require(len(proposals) == num_networks, message)
    require(result.space_exhausted, "the space is exhausted, and this is not reported")
    return proposals
