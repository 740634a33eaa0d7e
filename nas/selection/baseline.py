"""The selection of the baseline.

The finalists are trained again, longer and with several seeds, and the one with the best mean
reward is selected.

The best network of a noisy search is also selected for its training noise. So the finalists
(nas/selection/finalists.py) are compared by new trainings with paired seeds. The trainings of the
search are not used again: they were shorter, and the finalists were selected by them. A published
network is trained with the same seeds (nas/selection/reference_network.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phinas.experiment.artifacts.baseline_file import ExcludedReference, SelectionOutcome
from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor
from phinas.experiment.job_list import (
    Outcome,
    Task,
    failure_reasons,
    run_jobs,
    scores_by_network,
)
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.statistics.paired_comparison import (
    ROUNDING_TOLERANCE,
    Comparison,
    compare,
    probability_of_best,
)
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.pareto import pareto_front
from phinas.nas.problem import Problem
from phinas.nas.search import SearchResult
from phinas.nas.search_loop import ProgressCallback
from phinas.nas.selection.finalists import Finalist, select_finalists
from phinas.nas.selection.rediscovery import MeasuredReference
from phinas.nas.selection.reference_network import ReferenceTraining
from phinas.nas.trial import Trial
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import LatencyTimer

_MAX_EXAMINED = 400  # networks whose grids are made: some seconds


@dataclass(frozen=True)
class EvaluationContext:
    """The objects that evaluate networks and record the results.

    Attributes:
        trial_store: The record. Recorded jobs are not run again.
        executor: Runs the jobs.
        evaluator: Makes the jobs.
        latency_timer: Times networks. Needed if latency is the cost.
    """

    trial_store: TrialStore
    executor: Executor
    evaluator: Evaluator
    latency_timer: LatencyTimer | None = None


@dataclass(frozen=True)
class SelectedBaseline:
    """The selected network and the networks that it was compared with.

    Attributes:
        trial: The trial of the search with the selected network.
        finalists: The finalists in the order of their selection, including failed ones.
        scores: Scores of each finalist by network_id, one for each seed.
        rewards: Rewards of each finalist by network_id, one for each seed.
        comparison: The comparison of the finalists by reward.
        reference: The published network, or why it was not trained. None if none was requested.
        from_training: Whether the scores come from trainings, not from a table or a user's
            function.
        num_unscalable: The number of networks that were passed over, because they cannot be scaled.
    """

    trial: Trial
    finalists: Sequence[Finalist]
    scores: dict[str, list[float]]
    rewards: dict[str, list[float]]
    comparison: Comparison
    reference: MeasuredReference | ExcludedReference | None = None
    from_training: bool = True
    num_unscalable: int = 0

    @property
    def probability_of_best(self) -> float:
        """The probability that the selected finalist is the best one. NaN if it is unknown."""
        return probability_of_best(self.rewards)

    @property
    def outcome(self) -> SelectionOutcome:
        """How the other finalists compare with the selected one."""
        num_others, num_ties = len(self.scores) - 1, len(self.comparison.ties) - 1
        if num_others == 0:
            return "only_finalist" if len(self.finalists) == 1 else "others_failed"
        if num_ties == num_others:
            return "all_tied"
        if num_ties:
            return "some_tied"
        return "best_without_noise" if self.comparison.margin < ROUNDING_TOLERANCE else "best"


@dataclass(frozen=True)
class ChosenFinalists:
    """The networks of a search to train again.

    Attributes:
        finalists: The finalists in the order of their selection.
        num_unscalable: The number of networks that were passed over, because they cannot be scaled.
    """

    finalists: Sequence[Finalist]
    num_unscalable: int


def select_baseline(
    result: SearchResult,
    section: SearchSection,
    space: SearchSpace,
    *,
    seed: int,
    context: EvaluationContext,
    on_progress: ProgressCallback,
    is_scalable: Callable[[ArchSpec], bool] | None = None,
) -> SelectedBaseline:
    """Train the finalists and the reference network, and select the finalist with the best mean
    reward.

    Args:
        result: The result of the search.
        section: Its configuration.
        space: Its space, adapted to the images.
        seed: Seed of the run.
        context: Evaluates the networks.
        on_progress: Called with (done, total, text) after each training.
        is_scalable: Whether a network can be scaled. Others are passed over, unless all are such.

    Raises:
        NoResultError: No finalist could be trained with every seed.
    """
    reward, evaluator = result.reward, context.evaluator
    chosen = choose_finalists(result, section, space, seed=seed, is_scalable=is_scalable)
    finalists = chosen.finalists
    seeds = [derive_seed(seed, "finalist", index) for index in range(section.finalist_seeds)]
    problem = Problem(space, CostConstraint(), reward, scores_choices=evaluator.uses_choices)
    tasks = _make_tasks(finalists, section, evaluator, seeds, problem)
    reference_training = ReferenceTraining(
        result, section, space, evaluator, seed=seed, seeds=seeds
    )
    reference_training.measure_latency(context.trial_store, context.latency_timer, context.executor)
    keys = {task.job.key for task in tasks}
    all_tasks = [*tasks, *(task for task in reference_training.tasks if task.job.key not in keys)]

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        on_progress(done, total, f"latest: {_task_label(task)}, {outcome}")

    outcomes = run_jobs(all_tasks, context.trial_store, context.executor, on_progress=announce)
    scores = scores_by_network(tasks, outcomes)
    if not scores:
        raise NoResultError(
            f"no finalist could be trained with every seed: {failure_reasons(outcomes)}"
        )
    by_id = {finalist.trial.spec.network_id: finalist.trial for finalist in finalists}
    rewards = {
        name: [reward(value, by_id[name].get_cost(reward.cost_metric)) for value in values]
        for name, values in scores.items()
    }
    comparison = compare(rewards)
    return SelectedBaseline(
        by_id[comparison.winner],
        finalists,
        scores,
        rewards,
        comparison,
        reference_training.collect_result(outcomes),
        from_training=evaluator.describe_scores() is None,
        num_unscalable=chosen.num_unscalable,
    )


def choose_finalists(
    result: SearchResult,
    section: SearchSection,
    space: SearchSpace,
    *,
    seed: int,
    is_scalable: Callable[[ArchSpec], bool] | None = None,
) -> ChosenFinalists:
    """Select the finalists among the networks of a search. Arguments are as for `select_baseline`.

    Of a search for a Pareto front, they are networks of the front.
    """
    reward = result.reward
    candidates = pareto_front(result.trials, reward.cost_metric) if result.pareto else result.trials
    networks = _best_of_each_network(candidates)
    scalable = _find_scalable(networks, is_scalable) if is_scalable is not None else networks
    finalists = select_finalists(
        scalable, result.trials, space, reward, count=section.finalists, seed=seed
    )
    return ChosenFinalists(finalists, num_unscalable=len(networks) - len(scalable))


def _find_scalable(
    trials: Sequence[Trial], is_scalable: Callable[[ArchSpec], bool]
) -> Sequence[Trial]:
    """The trials whose network can be scaled; all of them where none can.

    Of many trials, only those with the highest rewards are examined and the others kept.
    """
    examined = sorted(trials, key=lambda trial: -trial.reward)[:_MAX_EXAMINED]
    unscalable = {trial.number for trial in examined if not is_scalable(trial.spec)}
    return [trial for trial in trials if trial.number not in unscalable] or trials


def _best_of_each_network(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, without those of a network that has a better one. There are several trials of a
    network where the evaluator scores choices.
    """
    best: dict[str, Trial] = {}
    for trial in trials:
        previous = best.get(trial.spec.network_id)
        if previous is None or trial.reward > previous.reward:
            best[trial.spec.network_id] = trial
    return [trial for trial in trials if best[trial.spec.network_id] is trial]


def _make_tasks(
    finalists: Sequence[Finalist],
    section: SearchSection,
    evaluator: Evaluator,
    seeds: Sequence[int],
    problem: Problem,
) -> list[Task]:
    trials = [finalist.trial for finalist in finalists]
    choices_of = {
        trial.number: problem.canonical_choices(trial.choices)
        for trial in trials
        if evaluator.uses_choices and trial.choices is not None
    }
    return [
        Task(
            evaluator.make_job(
                trial.spec,
                section.finalist_recipe,
                training_seed,
                choices=choices_of.get(trial.number),
            ),
            {
                "network_id": trial.spec.network_id,
                "flops": trial.cost.flops,
                "trial": trial.number,
                "seed": training_seed,
            },
        )
        for training_seed in seeds
        for trial in trials
    ]


def _task_label(task: Task) -> str:
    attributes = task.user_attrs
    return f"trial {attributes['trial']}" if "trial" in attributes else attributes["reference"]
