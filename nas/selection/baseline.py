"""From all trials to one baseline: the most promising few are trained again, longer and with
several seeds, and one is chosen.

The winner of a noisy search is partly luck, and the luck of one short training does not repeat:
finalists (nas/selection/finalists.py) are compared anew under paired seeds, by mean reward, and the
file says how sure the choice is. The trainings anew alone decide: those of the search were shorter,
and what they say has been spent on the choice of the finalists. A published network is trained
beside them (nas/selection/reference_network.py).
"""

import math
from dataclasses import dataclass
from typing import Any

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor
from phinas.experiment.job_list import (
    Outcome,
    Task,
    accuracies_by_network,
    failure_reasons,
    run_jobs,
)
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.statistics.paired_comparison import (
    ROUNDING_TOLERANCE,
    Comparison,
    compare,
    format_probability,
    probability_of_best,
)
from phinas.experiment.trial_store import TrialStore
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.pareto import pareto_front
from phinas.nas.search import ProgressCallback, SearchResult
from phinas.nas.selection.finalists import Finalist, select_finalists
from phinas.nas.selection.reference_network import (
    MeasuredReference,
    Rediscovery,
    ReferenceNetwork,
    ReferenceTraining,
    compare_with_reference,
    to_dict,
)
from phinas.nas.trial import LATENCY, Trial
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.training.timing.latency import LatencyTimer


@dataclass(frozen=True)
class Baseline:
    """The chosen trial, the finalists in the order they were taken, their accuracies and rewards by
    seed, and how they compare by reward. reference: the published network beside them, or why there
    is none; None where none was asked for. from_training: whether their accuracies come from
    trainings, not from a table or a user's function."""

    trial: Trial
    finalists: list[Finalist]
    accuracies: dict[str, list[float]]
    rewards: dict[str, list[float]]
    comparison: Comparison
    reference: MeasuredReference | ReferenceNetwork | None = None
    from_training: bool = True

    @property
    def probability_of_best(self) -> float:
        """That the chosen one is the best of the finalists, as far as their trainings tell; NaN:
        not known.
        """
        return probability_of_best(self.rewards)

    @property
    def rediscovery(self) -> Rediscovery | None:
        if not isinstance(self.reference, MeasuredReference):
            return None
        return compare_with_reference(self.rewards, self.trial.spec.spec_id, self.reference)

    def to_dict(self, result: SearchResult) -> dict[str, Any]:
        """What `search/baseline.yaml` holds."""
        chosen = self.trial.spec.spec_id
        return {
            "spec": self.trial.spec.to_dict(),
            "spec_id": chosen,
            "flops": self.trial.cost.flops,
            "params": self.trial.cost.params,
            LATENCY: self.trial.latency_ms,
            "explanation": self.explain(result),
            "trial": self.trial.number,
            "reward": result.reward.to_dict() | {"explanation": result.exponent_explanation},
            "finalists": [
                self._finalist(finalist)
                for finalist in self.finalists
                if finalist.trial.spec.spec_id in self.accuracies
            ],
            "margin": _finite_or_none(self.comparison.margin),
            "probability_of_best": _finite_or_none(self.probability_of_best),
            "reference": self._reference(),
            "pareto_trials": [
                trial.number for trial in pareto_front(result.trials, result.reward.metric)
            ],
        }

    def _finalist(self, finalist: Finalist) -> dict[str, Any]:
        trial = finalist.trial
        return {
            "spec_id": trial.spec.spec_id,
            "trial": trial.number,
            "flops": trial.cost.flops,
            LATENCY: trial.latency_ms,
            "search_reward": trial.reward,
            "expected_accuracy": finalist.expected_accuracy,
            "accuracies": self.accuracies[trial.spec.spec_id],
            "reward": self.comparison.means[trial.spec.spec_id],
            "tied_with_chosen": trial.spec.spec_id in self.comparison.ties,
        }

    def _reference(self) -> dict[str, Any] | None:
        if isinstance(self.reference, MeasuredReference):
            assert self.rediscovery is not None
            return to_dict(self.reference, self.rediscovery, from_training=self.from_training)
        return (
            {"name": self.reference.name, "exclusion_reason": self.reference.exclusion_reason}
            if self.reference
            else None
        )

    def explain(self, result: SearchResult) -> str:
        """The reasons in words."""
        chosen = self.trial.spec.spec_id
        ties = [name for name in self.comparison.ties if name != chosen]
        count = len(self.accuracies)
        seeds = len(self.accuracies[chosen])
        kind = "training" if self.from_training else "measurement"
        per_network = f"{seeds} {kind}s each" if seeds > 1 else f"one {kind} each"
        other_finalists = f"the other {count - 1} finalists" if count > 2 else "the other finalist"
        if count == 1:
            conclusion = (
                "it was the only finalist"
                if len(self.finalists) == 1
                else "no other finalist could be measured"
            )
        elif len(ties) == count - 1:
            conclusion = (
                f"none of {other_finalists} can" if count > 2 else f"{other_finalists} can't"
            )
            conclusion += f" be told from it with {per_network}"
        elif ties:
            conclusion = (
                f"{len(ties)} of {other_finalists} can't be told from it ({', '.join(ties)})"
            )
        elif self.comparison.margin < ROUNDING_TOLERANCE:
            conclusion = f"it beats {other_finalists} in {per_network}, which had no noise"
        else:
            conclusion = f"it beats {other_finalists} beyond the noise of {per_network} (95%)"
        if count > 1 and not math.isnan(self.probability_of_best):
            conclusion += (
                "; it is the best of them with a probability of "
                f"{format_probability(self.probability_of_best)}"
            )
        exponent_note = f". {result.exponent_explanation}" if result.exponent_explanation else ""
        finalists = "one finalist" if count == 1 else f"{count} finalists"
        return (
            f"highest mean reward ({_describe_reward(result)}) of {finalists} "
            f"{_describe_candidates(result)}; {conclusion}{exponent_note}"
        )


def _describe_reward(result: SearchResult) -> str:
    metric_note = "" if result.reward.metric == "flops" else f" over {result.reward.metric}"
    return f"{result.reward.kind}{metric_note}, w = {result.reward.exponent:g}"


def _describe_candidates(result: SearchResult) -> str:
    measured_text = f"out of {len(result.trials)} networks measured"
    if not result.pareto:
        return measured_text
    return (
        "from the Pareto front of "
        f"{len(pareto_front(result.trials, result.reward.metric))} {measured_text}"
    )


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def select_baseline(
    result: SearchResult,
    section: SearchSection,
    space: SearchSpace,
    *,
    seed: int,
    trial_store: TrialStore,
    executor: Executor,
    evaluator: Evaluator,
    on_progress: ProgressCallback,
    latency_timer: LatencyTimer | None = None,
) -> Baseline:
    """Train the finalists and the reference (what `trial_store` has is replayed) and choose.
    latency_timer: times the reference, where latency is the cost. Raises NoResultError where no
    finalist can be trained."""
    reward = result.reward
    candidates = pareto_front(result.trials, reward.metric) if result.pareto else result.trials
    finalists = select_finalists(
        candidates, result.trials, space, reward, count=section.finalists, seed=seed
    )
    seeds = [derive_seed(seed, "finalist", index) for index in range(section.finalist_seeds)]
    tasks = [
        Task(
            evaluator.make_job(trial.spec, section.finalist_recipe, training_seed),
            {
                "spec_id": trial.spec.spec_id,
                "flops": trial.cost.flops,
                "trial": trial.number,
                "seed": training_seed,
            },
        )
        for training_seed in seeds
        for trial in (finalist.trial for finalist in finalists)
    ]
    reference_training = ReferenceTraining(
        result, section, space, evaluator, seed=seed, seeds=seeds
    )
    reference_training.measure_latency(trial_store, latency_timer, executor)
    keys = {task.job.key for task in tasks}

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        label = (
            f"trial {task.user_attrs['trial']} again"
            if "trial" in task.user_attrs
            else task.user_attrs["reference"]
        )
        on_progress(done, total, f"{label}: {outcome}")

    all_tasks = [*tasks, *(task for task in reference_training.tasks if task.job.key not in keys)]
    outcomes = run_jobs(all_tasks, trial_store, executor, on_progress=announce)
    accuracies = accuracies_by_network(tasks, outcomes)
    if not accuracies:
        raise NoResultError(
            f"no finalist could be trained with every seed: {failure_reasons(outcomes)}"
        )
    by_id = {finalist.trial.spec.spec_id: finalist.trial for finalist in finalists}
    rewards = {
        name: [reward(value, by_id[name].get_cost(reward.metric)) for value in values]
        for name, values in accuracies.items()
    }
    comparison = compare(rewards)
    reference = reference_training.collect_result(outcomes)
    from_training = not evaluator.metadata()
    return Baseline(
        by_id[comparison.winner],
        finalists,
        accuracies,
        rewards,
        comparison,
        reference,
        from_training,
    )
