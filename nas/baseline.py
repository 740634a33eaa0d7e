"""From all trials to one baseline: the best few are trained again, longer and with several seeds, and one is chosen.

The winner of a noisy search is partly luck, and the luck of one short training does not repeat: finalists are compared anew
under paired seeds, by mean reward, and the file says which of the others can't be told from the one chosen.
"""

from dataclasses import dataclass
from typing import Any

from experiment.batch import Outcome, Task, paired_accuracies, reasons_of, run_batch
from experiment.config import SearchSection
from experiment.errors import NothingFound
from experiment.executors import Executor
from experiment.seeds import seed_of
from experiment.store import Ledger
from nas.evaluators.interface import Evaluator
from nas.pareto import pareto_front
from nas.search import Notify, SearchResult
from nas.trial import LATENCY, Trial
from training.compare import Comparison, compare


@dataclass(frozen=True)
class Baseline:
    """The chosen trial, the finalists in order of search reward with their mean accuracies, and how they compare by reward."""

    trial: Trial
    finalists: list[Trial]
    accuracies: dict[str, list[float]]
    comparison: Comparison

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
                {
                    "spec_id": trial.spec.spec_id,
                    "trial": trial.number,
                    "flops": trial.cost.flops,
                    LATENCY: trial.latency_ms,
                    "search_reward": trial.reward,
                    "accuracies": self.accuracies[trial.spec.spec_id],
                    "reward": self.comparison.means[trial.spec.spec_id],
                    "tied_with_chosen": trial.spec.spec_id in self.comparison.ties,
                }
                for trial in self.finalists
                if trial.spec.spec_id in self.accuracies
            ],
            "margin": _finite_or_none(self.comparison.margin),
            "pareto_trials": [trial.number for trial in pareto_front(result.trials, result.reward.metric)],
        }

    def explain(self, result: SearchResult) -> str:
        """The reasons in words."""
        chosen = self.trial.spec.spec_id
        ties = [name for name in self.comparison.ties if name != chosen]
        count = len(self.accuracies)
        seeds = len(self.accuracies[chosen])
        if count == 1:
            sure = "it was the only finalist" if len(self.finalists) == 1 else "no other finalist could be trained"
        elif len(ties) == count - 1:
            sure = f"none of the other {count - 1} finalists can be told from it with {seeds} trainings each"
        elif ties:
            sure = f"{len(ties)} of the other {count - 1} finalists can't be told from it ({', '.join(ties)})"
        else:
            sure = f"it beats the other {count - 1} finalists beyond the noise of {seeds} trainings each (95%)"
        weight_too = f". {result.why_weight}" if result.why_weight else ""
        return f"highest mean reward ({_described(result)}) of {count} finalists {_drawn_from(result)}; {sure}{weight_too}"


def _described(result: SearchResult) -> str:
    weighed = "" if result.reward.metric == "flops" else f" over {result.reward.metric}"
    return f"{result.reward.kind}{weighed}, w = {result.reward.weight:g}"


def _drawn_from(result: SearchResult) -> str:
    measured = f"out of {len(result.trials)} networks measured"
    if not result.pareto:
        return measured
    return f"from the Pareto front of {len(pareto_front(result.trials, result.reward.metric))} {measured}"


def _finite_or_none(value: float) -> float | None:
    return value if value < float("inf") else None


def choose_baseline(
    result: SearchResult,
    section: SearchSection,
    *,
    seed: int,
    ledger: Ledger,
    executor: Executor,
    evaluator: Evaluator,
    notify: Notify,
) -> Baseline:
    """Train the finalists (what `ledger` has is replayed) and choose. Raises NothingFound where none can be trained."""
    candidates = pareto_front(result.trials, result.reward.metric) if result.pareto else result.trials
    finalists = sorted(candidates, key=lambda trial: -trial.reward)[: section.finalists]
    seeds = [seed_of(seed, "finalist", index) for index in range(section.finalist_seeds)]
    tasks = [
        Task(
            evaluator.job(trial.spec, section.finalist_recipe, training_seed),
            {"spec_id": trial.spec.spec_id, "flops": trial.cost.flops, "trial": trial.number, "seed": training_seed},
        )
        for training_seed in seeds
        for trial in finalists
    ]

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        notify(done, total, f"trial {task.attributes['trial']} again: {outcome}")

    outcomes = run_batch(tasks, ledger, executor, notify=announce)
    accuracies = paired_accuracies(tasks, outcomes)
    if not accuracies:
        raise NothingFound(f"no finalist could be trained with every seed: {reasons_of(outcomes)}")
    rewards = {
        trial.spec.spec_id: [
            result.reward(value, trial.cost_in(result.reward.metric)) for value in accuracies[trial.spec.spec_id]
        ]
        for trial in finalists
        if trial.spec.spec_id in accuracies
    }
    comparison = compare(rewards)
    chosen = next(trial for trial in finalists if trial.spec.spec_id == comparison.winner)
    return Baseline(chosen, finalists, accuracies, comparison)
