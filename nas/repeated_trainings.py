"""The first networks of a search with comparable scores, and some of them trained again with
another seed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, run_jobs
from phinas.experiment.schema.config import Recipe
from phinas.experiment.storage.trial_record import TrialRecord, drop_replaced
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.surrogate.accuracy_model import failed_to_learn
from phinas.nas.trial import TrialAttributes
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import ArchSpec

# Of the epochs of a recipe. Earlier scores say little about a ranking at the end.
_MIN_EPOCHS_FRACTION = 0.25


@dataclass(frozen=True, slots=True)
class ScoredNetwork:
    """A network of a search, and its score after some epochs.

    Attributes:
        proposal: Number of its trial among the proposals.
        spec: The network.
        choices: Its choices.
        score: Its score.
        metric: The metric of the score.
    """

    proposal: int
    spec: ArchSpec
    choices: Choices
    score: float
    metric: str


@dataclass(frozen=True, slots=True)
class ScoredNetworks:
    """Networks that were trained for the same number of epochs, in the order of their proposals."""

    epochs: int
    networks: tuple[ScoredNetwork, ...]

    def spread_over_ranks(self, count: int) -> "ScoredNetworks":
        """Some networks at evenly spaced ranks, so that together they are like all of them.

        The noise of the best networks alone would be underestimated: they owe their rank partly to
        it, and a score cannot exceed 1.
        """
        ranked = sorted(self.networks, key=lambda network: network.score)
        selected = (ranked[(2 * index + 1) * len(ranked) // (2 * count)] for index in range(count))
        return replace(self, networks=tuple(selected))


def find_scored_networks(
    records: Iterable[TrialRecord], *, epochs: int, count: int
) -> ScoredNetworks | None:
    """The first networks with a score after the same number of epochs.

    The number is the largest one that enough networks have reached, and at least a quarter of the
    epochs of a complete training. Trainings that failed are left out, and so are those that failed
    to learn: a ranking finds them without any precision.

    Args:
        records: The trials of the search.
        epochs: Epochs of a complete training.
        count: Number of networks.

    Returns:
        None if there are fewer networks.
    """
    scores = {
        record.number: (record, _scores_by_epoch(record, epochs))
        for record in drop_replaced(records)
        if not record.is_failed
    }
    counts = Counter(epoch for _, by_epoch in scores.values() for epoch in by_epoch)
    enough = [
        epoch
        for epoch, num_networks in counts.items()
        if num_networks >= count and epoch >= _MIN_EPOCHS_FRACTION * epochs
    ]
    if not enough:
        return None
    epoch = max(enough)
    networks = _drop_failed_to_learn(
        [
            _make_scored_network(record, by_epoch[epoch])
            for record, by_epoch in scores.values()
            if epoch in by_epoch
        ]
    )
    return ScoredNetworks(epoch, tuple(networks[:count])) if len(networks) >= count else None


def _scores_by_epoch(record: TrialRecord, epochs: int) -> dict[int, float]:
    scores = dict(record.intermediate_values)
    if record.is_complete or record.is_unscored:
        scores[epochs] = record.measurement.score
    return scores


def _make_scored_network(record: TrialRecord, score: float) -> ScoredNetwork:
    attributes = TrialAttributes.from_record(record)
    spec = ArchSpec.from_dict(attributes.spec)
    return ScoredNetwork(attributes.proposal, spec, record.params, score, record.measurement.metric)


def _drop_failed_to_learn(networks: list[ScoredNetwork]) -> list[ScoredNetwork]:
    """The networks that learned, in the order of their proposals."""
    is_failed = failed_to_learn(np.array([network.score for network in networks]))
    learned = [network for network, failed in zip(networks, is_failed, strict=True) if not failed]
    return sorted(learned, key=lambda network: network.proposal)


def repeat_trainings(
    repeated: ScoredNetworks,
    evaluator: Evaluator,
    recipe: Recipe,
    *,
    seed: int,
    canonical_choices: Callable[[Choices], Choices],
    trial_store: TrialStore,
    executor: Executor,
    on_progress: Callable[[int, int], None],
) -> dict[int, float]:
    """Train networks with another seed.

    Args:
        repeated: The networks, and the number of epochs after which their score is needed.
        evaluator: Describes the trainings.
        recipe: The recipe of the search.
        seed: The other seed, which is the same for all networks.
        canonical_choices: Makes the choices that the evaluator gets.
        trial_store: The record of the repeated trainings. Recorded ones are not run again.
        executor: Runs the trainings.
        on_progress: Called with (done, total) before the first training and after each.

    Returns:
        The scores by proposal number. Failed trainings are left out.
    """
    networks, epochs = repeated.networks, repeated.epochs
    # a paused training has the same schedule as the one of the search
    stop_epoch = epochs if epochs < recipe.epochs and evaluator.supports_pausing else None
    jobs: dict[int, Job] = {
        network.proposal: evaluator.make_job(
            network.spec,
            recipe,
            seed,
            stop_epoch=stop_epoch,
            choices=canonical_choices(network.choices) if evaluator.uses_choices else None,
        )
        for network in networks
    }
    tasks = [
        Task(
            jobs[network.proposal],
            {
                "network_id": network.spec.network_id,
                "spec": network.spec.to_dict(),
                "repeated_proposal": network.proposal,
            },
        )
        for network in networks
    ]
    on_progress(0, len(tasks))
    outcomes = run_jobs(
        tasks,
        trial_store,
        executor,
        on_progress=lambda done, total, _task, _outcome: on_progress(done, total),
    )
    scores = {
        proposal: _score_after(outcomes, job, epochs if epochs < recipe.epochs else None)
        for proposal, job in jobs.items()
    }
    return {proposal: score for proposal, score in scores.items() if score is not None}


def _score_after(outcomes: Mapping[str, Outcome], job: Job, epochs: int | None) -> float | None:
    """The score of a training after some epochs, or at its end. None if the training failed."""
    measurement = outcomes[job.key].measurement
    if measurement is None:
        return None
    if epochs is None or measurement.epochs <= epochs:
        return measurement.score
    return measurement.curve[epochs - 1] if len(measurement.curve) >= epochs else None
