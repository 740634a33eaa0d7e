"""The conformance suite of search strategies.

A strategy depends on the seed and the history only. It proposes networks of the space within the
cost limits, and none twice. It tolerates failures, pruned trials and any number of workers. An
interrupted search continues like an uninterrupted one.
"""

from collections.abc import Callable

from phinas.testing import history_checks, space_checks


def check_strategy(strategy: str) -> None:
    """Run every check on a strategy.

    Args:
        strategy: Its name, or "package.module:Class".

    Raises:
        AssertionError: A check fails. The message says what is wrong.
    """
    for check in STRATEGY_CHECKS.values():
        check(strategy)


# By the name of the test without "test_", which says what is true of a conforming strategy.
STRATEGY_CHECKS: dict[str, Callable[[str], None]] = {
    "the_seed_determines_the_proposals": history_checks.check_seed,
    "a_search_interrupted_during_trainings_continues_unchanged": (
        history_checks.check_interrupted_trainings
    ),
    "a_search_interrupted_between_trainings_continues_unchanged": (
        history_checks.check_interrupted_between_trainings
    ),
    "a_larger_budget_continues_the_search": history_checks.check_larger_budget,
    "a_spent_budget_starts_no_training": history_checks.check_spent_budget,
    "progress_is_reported_up_to_the_budget": history_checks.check_progress,
    "a_small_space_is_searched_completely": space_checks.check_small_space,
    "a_space_of_the_size_of_the_budget_is_not_exhausted": space_checks.check_space_of_the_budget,
    "networks_with_several_sets_of_choices_are_trained_once": space_checks.check_duplicate_choices,
    "a_space_of_one_network_is_exhausted": space_checks.check_single_network,
    "a_decision_with_one_value_always_has_it": space_checks.check_fixed_decision,
    "failed_trials_are_tolerated": history_checks.check_failures,
    "pruned_trials_are_tolerated": history_checks.check_pruned_trials,
    "narrow_cost_limits_are_satisfied": space_checks.check_narrow_limits,
    "wider_cost_limits_are_satisfied": space_checks.check_limits,
    "no_network_outside_the_cost_limits_is_trained": space_checks.check_nothing_outside_is_trained,
    "impossible_cost_limits_are_refused": space_checks.check_impossible_limits,
    "several_workers_train_distinct_networks": history_checks.check_workers,
    "interrupted_trainings_of_several_workers_are_run_again": (
        history_checks.check_interrupted_workers
    ),
    "a_record_of_another_space_is_refused": space_checks.check_other_space,
    "a_pareto_front_improves": space_checks.check_pareto,
}


class StrategyConformance:
    """Base class of a pytest class that tests one strategy. It has one test for each check.

    Attributes:
        strategy: Name of the strategy, or "package.module:Class".
    """

    strategy: str


def _make_test(check: Callable[[str], None]) -> Callable[[StrategyConformance], None]:
    def test(self: StrategyConformance) -> None:
        check(self.strategy)

    return test


for _name, _check in STRATEGY_CHECKS.items():
    setattr(StrategyConformance, f"test_{_name}", _make_test(_check))
