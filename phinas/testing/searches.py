"""Small searches with known scores, for the checks of strategies."""

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import optuna

from phinas.experiment.executors import Executor, Job, Result
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.interface import ReportCallback
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.experiment.storage.trial_record import TrialRecord, drop_replaced
from phinas.experiment.storage.trial_store import Direction, TrialStore
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.search import SearchResult, search
from phinas.nas.strategies.loading import load_strategy
from phinas.nas.trial import TrialAttributes
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace

EPOCHS = 9
SMOOTH = "phinas.testing.functions:smooth"
UNRELIABLE = "phinas.testing.functions:unreliable"
REPORTING = "phinas.testing.functions:reporting"
TINY = load_space("tiny")
SPACE_OF_TWELVE = SearchSpace(
    "twelve",
    TINY.base,
    (
        Decision("stages.0.kernel", (3, 5)),
        Decision("stages.1.width", (8, 16, 24)),
        Decision("stages.2.se", (0, 0.25)),
    ),
)
# 64 sets of choices for 25 networks: a layer that is left out, or beyond the depth of its stage,
# has inactive choices.
SPACE_WITH_DUPLICATES = SearchSpace(
    "duplicates",
    TINY.base,
    (
        Decision("stages.1.layers.1.block", ("mbconv", "identity")),
        Decision("stages.1.layers.1.kernel", (3, 5)),
        Decision("stages.1.layers.1.expansion", (2, 3)),
        Decision("stages.2.depth", (1, 2)),
        Decision("stages.2.layers.1.se", (0, 0.25)),
        Decision("stages.2.layers.1.kernel", (3, 5)),
    ),
)
NUM_DISTINCT = 25
# 18 sets of choices for 9 networks: an identity is a layer beyond the depth of its stage.
SPACE_WITH_JOINT_CHOICES = SearchSpace(
    "joint",
    TINY.base,
    (
        Decision.joint(
            "stages.1.layers.1.op",
            ("identity", {"kernel": 3, "expansion": 2}, {"kernel": 5, "expansion": 3}),
        ),
        Decision("stages.2.depth", (1, 2)),
        Decision.joint("stages.2.layers.1.op", ("identity", {"kernel": 3}, {"kernel": 5})),
    ),
)
NUM_JOINT = 9


class Interrupted(Exception):  # noqa: N818
    """Simulates that the driver ends during a search."""


class InterruptedExecutor(InlineExecutor):
    """Interrupts the search during a training.

    Args:
        num_jobs: Number of trainings that end before the interruption.
    """

    def __init__(self, num_jobs: int) -> None:
        super().__init__(1)
        self._num_jobs = num_jobs

    def next_result(self) -> Result:
        if self._num_jobs == 0:
            raise Interrupted
        self._num_jobs -= 1
        return super().next_result()


class ShuffledExecutor(InlineExecutor):
    """Several workers in this process. Jobs end in a random order that depends on the seed.

    Args:
        max_workers: Number of jobs at a time.
        seed: Seed of the order.
        num_jobs: Number of results before the search is interrupted. None never interrupts it.
    """

    def __init__(self, max_workers: int, *, seed: int = 0, num_jobs: int | None = None) -> None:
        super().__init__(1)
        self.max_workers = max_workers
        self._jobs: list[tuple[Job, ReportCallback | None]] = []
        self._order = random.Random(seed)
        self._num_jobs = num_jobs

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        if len(self._jobs) >= self.max_workers:
            raise RuntimeError(f"more than {self.max_workers} jobs at a time")
        self._jobs.append((job, on_report))

    def next_result(self) -> Result:
        if self._num_jobs == 0:
            raise Interrupted
        if self._num_jobs is not None:
            self._num_jobs -= 1
        super().submit(*self._jobs.pop(self._order.randrange(len(self._jobs))))
        return super().next_result()


@dataclass(frozen=True)
class Proposed:
    """A proposal as it is recorded.

    Attributes:
        network_id: The network.
        value: Its objective value. None if it has none.
        num_rejected: Number of proposals that were rejected before it.
        target_epochs: The last epoch of each part of its training. Empty if it cannot be paused.
    """

    network_id: str
    value: float | None
    num_rejected: int
    target_epochs: tuple[int, ...]


def in_memory_store(*, pareto: bool = False) -> TrialStore:
    """A record in memory, because writing to SQLite takes longer than an instant evaluator."""
    directions: Sequence[Direction] = ("maximize", "minimize") if pareto else ("maximize",)
    return TrialStore(optuna.create_study(directions=list(directions)))


def run_search(
    strategy: str,
    trial_store: TrialStore,
    *,
    function: str = SMOOTH,
    space: SearchSpace = TINY,
    seed: int = 0,
    executor: Executor | None = None,
    on_progress: Callable[[int, int, str], None] = lambda _done, _total, _text: None,
    **options: Any,
) -> SearchResult:
    """Run a search, or continue it from the record. By default, the reward is the score.

    Args:
        strategy: Name of the strategy.
        trial_store: The record.
        function: The evaluator function.
        space: The search space.
        seed: Seed of the search.
        executor: Runs the trainings. The default runs one at a time in this process.
        on_progress: Called after each training.
        options: Fields of SearchSection.
    """
    defaults: dict[str, Any] = {
        "trials": 30,
        "reward_exponent": 0.0,
        "recipe": Recipe(epochs=EPOCHS),
    }
    section = SearchSection(strategy=strategy, evaluator=function, **defaults | options)
    with closing(executor or InlineExecutor(1)) as active_executor:
        return search(
            space,
            section,
            seed=seed,
            trial_store=trial_store,
            executor=active_executor,
            evaluator=FunctionEvaluator(function, 60.0),
            on_progress=on_progress,
        )


def live_records(trial_store: TrialStore) -> list[TrialRecord]:
    """The records of a search in the order of their proposals, without replaced ones."""
    records = drop_replaced(trial_store.records())
    return sorted(records, key=lambda record: TrialAttributes.from_record(record).proposal)


def list_proposals(trial_store: TrialStore) -> list[Proposed]:
    """The proposals of a search, in their order."""
    proposals = []
    for index, record in enumerate(live_records(trial_store)):
        attributes = TrialAttributes.from_record(record)
        if attributes.proposal != index:
            raise AssertionError(f"proposal {index} is missing in the record")
        proposals.append(
            Proposed(
                attributes.network_id, record.value, attributes.num_rejected, record.target_epochs
            )
        )
    return proposals


def propose(strategy: str, **options: Any) -> list[Proposed]:
    """The proposals of an uninterrupted search. Options as for `run_search`."""
    trial_store = in_memory_store()
    run_search(strategy, trial_store, **options)
    return list_proposals(trial_store)


def pauses(strategy: str) -> bool:
    """Whether the strategy pauses and resumes trainings in these searches."""
    return load_strategy(strategy).pausing != "never"


def allows_pruner(strategy: str) -> bool:
    return load_strategy(strategy).pausing != "required"
