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

from phinas.experiment.errors import NothingFound
from phinas.experiment.executors import Executor
from phinas.experiment.job_list import Outcome, Task, paired_accuracies, reasons_of, run_batch
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import seed_of
from phinas.experiment.statistics.paired_comparison import (
    NOISELESS,
    Comparison,
    chance_of_best,
    compare,
    shown_chance,
)
from phinas.experiment.trial_store import Ledger
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.pareto import pareto_front
from phinas.nas.search import Notify, SearchResult
from phinas.nas.selection.finalists import Finalist, pick_finalists
from phinas.nas.selection.reference_network import (
    Beside,
    Measured,
    Rediscovery,
    Reference,
    rediscovery,
    to_dict,
)
from phinas.nas.trial import LATENCY, Trial
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.training.timing.latency import Stopwatch


@dataclass(frozen=True)
class Baseline:
    """The chosen trial, the finalists in the order they were taken, their accuracies and rewards by
    seed, and how they compare by reward. reference: the published network beside them, or why there
    is none; None where none was asked for. trained: whether their accuracies come from trainings,
    not from a table or a user's function."""

    trial: Trial
    finalists: list[Finalist]
    accuracies: dict[str, list[float]]
    rewards: dict[str, list[float]]
    comparison: Comparison
    reference: Measured | Reference | None = None
    trained: bool = True

    @property
    def chance(self) -> float:
        """That the chosen one is the best of the finalists, as far as their trainings tell; NaN:
        not known.
        """
        return chance_of_best(self.rewards)

    @property
    def rediscovery(self) -> Rediscovery | None:
        if not isinstance(self.reference, Measured):
            return None
        return rediscovery(self.rewards, self.trial.spec.spec_id, self.reference)

    def to_dict(self, result: SearchResult) -> dict[str, Any]:
        """What `search/baseline.yaml` holds."""
        chosen = self.trial.spec.spec_id
        return {
            "spec": self.trial.spec.to_dict(),
            "spec_id": chosen,
            "flops": self.trial.cost.flops,
            "params": self.trial.cost.params,
            LATENCY: self.trial.latency_ms,
            "why": self.explain(result),
            "trial": self.trial.number,
            "reward": result.reward.to_dict() | {"why": result.why_weight},
            "finalists": [
                self._finalist(one)
                for one in self.finalists
                if one.trial.spec.spec_id in self.accuracies
            ],
            "margin": _finite_or_none(self.comparison.margin),
            "chance_of_best": _finite_or_none(self.chance),
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
        if isinstance(self.reference, Measured):
            assert self.rediscovery is not None
            return to_dict(self.reference, self.rediscovery, trained=self.trained)
        return (
            {"name": self.reference.name, "left_out": self.reference.why_not}
            if self.reference
            else None
        )

    def explain(self, result: SearchResult) -> str:
        """The reasons in words."""
        chosen = self.trial.spec.spec_id
        ties = [name for name in self.comparison.ties if name != chosen]
        count = len(self.accuracies)
        seeds = len(self.accuracies[chosen])
        kind = "training" if self.trained else "measurement"
        each = f"{seeds} {kind}s each" if seeds > 1 else f"one {kind} each"
        others = f"the other {count - 1} finalists" if count > 2 else "the other finalist"
        if count == 1:
            sure = (
                "it was the only finalist"
                if len(self.finalists) == 1
                else "no other finalist could be measured"
            )
        elif len(ties) == count - 1:
            sure = f"none of {others} can" if count > 2 else f"{others} can't"
            sure += f" be told from it with {each}"
        elif ties:
            sure = f"{len(ties)} of {others} can't be told from it ({', '.join(ties)})"
        elif self.comparison.margin < NOISELESS:
            sure = f"it beats {others} in {each}, which had no noise"
        else:
            sure = f"it beats {others} beyond the noise of {each} (95%)"
        if count > 1 and not math.isnan(self.chance):
            sure += f"; it is the best of them with a probability of {shown_chance(self.chance)}"
        weight_too = f". {result.why_weight}" if result.why_weight else ""
        finalists = "one finalist" if count == 1 else f"{count} finalists"
        return (
            f"highest mean reward ({_described(result)}) of {finalists} "
            f"{_drawn_from(result)}; {sure}{weight_too}"
        )


def _described(result: SearchResult) -> str:
    weighed = "" if result.reward.metric == "flops" else f" over {result.reward.metric}"
    return f"{result.reward.kind}{weighed}, w = {result.reward.weight:g}"


def _drawn_from(result: SearchResult) -> str:
    measured = f"out of {len(result.trials)} networks measured"
    if not result.pareto:
        return measured
    return (
        "from the Pareto front of "
        f"{len(pareto_front(result.trials, result.reward.metric))} {measured}"
    )


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def choose_baseline(
    result: SearchResult,
    section: SearchSection,
    space: SearchSpace,
    *,
    seed: int,
    ledger: Ledger,
    executor: Executor,
    evaluator: Evaluator,
    notify: Notify,
    stopwatch: Stopwatch | None = None,
) -> Baseline:
    """Train the finalists and the reference (what `ledger` has is replayed) and choose. stopwatch:
    times the reference, where latency is the cost. Raises NothingFound where no finalist can be
    trained."""
    reward = result.reward
    candidates = pareto_front(result.trials, reward.metric) if result.pareto else result.trials
    finalists = pick_finalists(
        candidates, result.trials, space, reward, count=section.finalists, seed=seed
    )
    seeds = [seed_of(seed, "finalist", index) for index in range(section.finalist_seeds)]
    tasks = [
        Task(
            evaluator.job(trial.spec, section.finalist_recipe, training_seed),
            {
                "spec_id": trial.spec.spec_id,
                "flops": trial.cost.flops,
                "trial": trial.number,
                "seed": training_seed,
            },
        )
        for training_seed in seeds
        for trial in (one.trial for one in finalists)
    ]
    beside = Beside(result, section, space, evaluator, seed=seed, seeds=seeds)
    beside.time(ledger, stopwatch, executor)
    keys = {task.job.key for task in tasks}

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        again = (
            f"trial {task.attributes['trial']} again"
            if "trial" in task.attributes
            else task.attributes["reference"]
        )
        notify(done, total, f"{again}: {outcome}")

    every = [*tasks, *(task for task in beside.tasks if task.job.key not in keys)]
    outcomes = run_batch(every, ledger, executor, notify=announce)
    accuracies = paired_accuracies(tasks, outcomes)
    if not accuracies:
        raise NothingFound(f"no finalist could be trained with every seed: {reasons_of(outcomes)}")
    by_id = {one.trial.spec.spec_id: one.trial for one in finalists}
    rewards = {
        name: [reward(value, by_id[name].cost_in(reward.metric)) for value in values]
        for name, values in accuracies.items()
    }
    comparison = compare(rewards)
    reference = beside.settle(outcomes)
    trained = not evaluator.facts()
    return Baseline(
        by_id[comparison.winner], finalists, accuracies, rewards, comparison, reference, trained
    )
