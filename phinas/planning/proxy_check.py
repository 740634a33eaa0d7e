"""`phinas plan --check-proxy`: whether the trainings of a search distinguish networks, before it.

The first networks of a random search are trained as in the run, and some of them again. Nothing of
it is kept.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from phinas.adapt_to_data import largest_resolution, space_for_data
from phinas.experiment.artifacts.proxy_check import ProxyCheckFile
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import (
    PROXY_CHECK_NETWORKS,
    Config,
    DataSection,
    SearchSection,
)
from phinas.proxy_check_message import describe_check
from phinas.run_context import resolve_threads, resolve_workers
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.experiment.executors import Executor
    from phinas.nas.evaluators.interface import Evaluator
    from phinas.space.search_spaces.search_space import SearchSpace
    from phinas.training.data.prepared_dataset import PreparedData

_ARGUMENT = "check_proxy"  # `phinas.api.plan.plan`, and the option --check-proxy
# Networks that do not learn are left out, so more than PROXY_CHECK_NETWORKS may be needed.
_MAX_NETWORKS = 2 * PROXY_CHECK_NETWORKS


class _CheckedError(Exception):
    """Ends a search whose trainings have been checked."""


@dataclass(frozen=True)
class PlannedProxyCheck:
    """A proxy check before a run.

    Attributes:
        check: The check. None if too few networks could be trained.
        message: Its result in one line, with what to raise if the trainings are too noisy.
    """

    check: ProxyCheckFile | None
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "message": self.message,
            "check": None if self.check is None else self.check.to_dict(),
        }


def require_checkable(config: Config, *, searches: bool) -> None:
    """Check that a run has a search whose trainings can be checked.

    Args:
        config: The configuration of the run.
        searches: Whether the run has a search.

    Raises:
        InputError: It has none, or the check is off.
    """
    problem, section = "", config.search
    if not searches:
        problem = "the run has no search"
    elif section.evaluator != "proxy":
        problem = f"phinas does not train for search.evaluator {section.evaluator}"
    elif not section.repeated_networks:
        problem = "the check is off, because search.repeated_networks is 0"
    if problem:
        raise InputError(f"{_ARGUMENT}: {problem}; leave it out")


def check_before_run(config: Config, display: Display) -> PlannedProxyCheck:
    """Train random networks of the search space as the search would, and some of them again.

    Args:
        config: The configuration of the run.
        display: Shows the progress.

    Raises:
        InputError: The images or the search space are wrong.
        NoResultError: No network could be trained.
    """
    from phinas.nas.evaluators.proxy import ProxyEvaluator
    from phinas.training.engine.job import TrainingJobFactory

    assert config.data is not None, "make_forecast has read the images"
    with TemporaryDirectory(prefix="phinas-check-") as directory:
        data = _prepare(config, config.data, Path(directory), display)
        job_factory = TrainingJobFactory.from_config(
            data,
            config.data,
            run=config.run,
            threads=resolve_threads(config.run, max_workers=resolve_workers(config.run)),
            checkpoints=None,
            metric=config.metric,
        )
        space = space_for_data(config, data)
        with _open_executor(config) as executor:
            check = _search_and_check(config, space, ProxyEvaluator(job_factory), executor, display)
    if check is None:
        return PlannedProxyCheck(
            None,
            f"warning: proxy check: fewer than {PROXY_CHECK_NETWORKS} of {_MAX_NETWORKS} random "
            "networks learned, so the training noise is not known. Raise search.recipe.epochs (now "
            f"{config.search.recipe.epochs}).",
        )
    message = describe_check(
        check, config, data, train_images=data.train, resolution=space.base.resolution
    )
    return PlannedProxyCheck(check, message)


def _prepare(
    config: Config, section: DataSection, directory: Path, display: Display
) -> "PreparedData":
    from phinas.training.data.prepared_dataset import prepare

    with display.stage("data", unit="images") as on_progress:
        return prepare(
            section,
            seed=config.run.seed,
            directory=directory / "data",
            max_size=largest_resolution(config),
            on_progress=lambda done, total: on_progress(done, total, ""),
        )


@contextmanager
def _open_executor(config: Config) -> "Iterator[Executor]":
    from phinas.experiment.executors import make_executor

    section = config.run
    executor = make_executor(
        section.executor,
        resolve_workers(section),
        max_retries=section.max_retries,
        retry_on=section.retry_on,
    )
    with closing(executor):
        yield executor


def _random_search(section: SearchSection) -> SearchSection:
    """The configuration of a search whose networks are random, and are trained as in `section`."""
    return SearchSection(
        strategy="random",
        trials=_MAX_NETWORKS,
        reward="accuracy",
        min_flops=section.min_flops,
        max_flops=section.max_flops,
        recipe=section.recipe,
        repeated_networks=section.repeated_networks,
        max_consecutive_failures=section.max_consecutive_failures,
    )


def _search_and_check(
    config: Config,
    space: "SearchSpace",
    evaluator: "Evaluator",
    executor: "Executor",
    display: Display,
) -> ProxyCheckFile | None:
    import optuna

    from phinas.experiment.executors.shared import SharedExecutor
    from phinas.experiment.storage.trial_store import TrialStore
    from phinas.nas.proxy_check import ProxyCheck
    from phinas.nas.search import search

    def in_memory_store() -> TrialStore:
        return TrialStore(optuna.create_study(direction="maximize"))

    checks: list[ProxyCheckFile] = []

    def end_search(check: ProxyCheckFile) -> None:
        checks.append(check)
        raise _CheckedError

    section, trial_store = _random_search(config.search), in_memory_store()
    shared_executor = SharedExecutor(executor)
    proxy_check = ProxyCheck(
        section,
        space,
        evaluator,
        shared_executor,
        seed=config.run.seed,
        trial_store=trial_store,
        open_repeated_store=in_memory_store,
        on_result=end_search,
    )
    with (
        display.stage("proxy check", unit="networks", text_is_result=False) as on_progress,
        suppress(_CheckedError),
    ):
        search(
            space,
            section,
            seed=config.run.seed,
            trial_store=trial_store,
            executor=shared_executor,
            evaluator=evaluator,
            on_progress=proxy_check.after(on_progress),
        )
    return checks[0] if checks else None
