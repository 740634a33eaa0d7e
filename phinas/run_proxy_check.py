"""The proxy check of the search of a run: it is recorded in the run directory and printed."""

from functools import partial

from phinas.experiment.artifacts.proxy_check import ProxyCheckFile
from phinas.experiment.executors.shared import SharedExecutor
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.proxy_check import ProxyCheck
from phinas.proxy_check_message import describe_check
from phinas.run_context import RunContext
from phinas.space.search_spaces.search_space import SearchSpace


def make_proxy_check(
    context: RunContext,
    space: SearchSpace,
    evaluator: Evaluator,
    executor: SharedExecutor,
    trial_store: TrialStore,
) -> ProxyCheck | None:
    """The check of the trainings of a search.

    Args:
        context: The run.
        space: The search space for the images.
        evaluator: The evaluator of the search.
        executor: The executor of the search.
        trial_store: The record of the search.

    Returns:
        None if the run has been checked, the check is off, or the scores do not depend on a seed.
    """
    config, run = context.config, context.run
    is_wanted = config.search.repeated_networks and evaluator.depends_on_seed
    if not is_wanted or run.proxy_check.exists():
        return None

    def record_and_print(check: ProxyCheckFile) -> None:
        check.write(run.proxy_check)
        message = describe_check(
            check,
            config,
            context.data,
            train_images=context.data.train if context.data else 0,
            resolution=space.base.resolution,
        )
        context.display.print(message)

    return ProxyCheck(
        config.search,
        space,
        evaluator,
        executor,
        seed=config.run.seed,
        trial_store=trial_store,
        open_repeated_store=partial(context.storage.open_study, "proxy_check"),
        on_result=record_and_print,
    )
