"""Which of the grid's networks is best on this data: all are trained with the same seeds and compared as a table.

The answer is a winner, the *tie set* that can't be told from it, and for alpha, beta and gamma the range over that set: when
the range is wide, the data do not say, and the file says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiment.batch import Outcome, Task, paired_accuracies, reasons_of, run_batch
from experiment.config import Recipe, ScalingSection
from experiment.errors import NothingFound
from experiment.executors import Executor, Job
from experiment.seeds import seed_of
from experiment.store import Ledger
from scaling_search.coefficients import Coefficients
from scaling_search.grid import Interval, Member, make_grid, spread
from space.spec import ArchSpec
from training.compare import Comparison, compare

MakeJob = Callable[[ArchSpec, Recipe, int], Job]
Notify = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ScalingResult:
    """grid: all members; trained: those that were, with one accuracy a seed; the comparison is by mean accuracy."""

    coefficients: Coefficients
    winner: Member
    grid: list[Member]
    trained: list[Member]
    accuracies: dict[str, list[float]]
    comparison: Comparison

    def ranges(self) -> dict[str, Interval]:
        """From the least to the greatest alpha, beta, gamma of any network in the tie set."""
        tied = [member for member in self.trained if member.spec.spec_id in self.comparison.ties]
        return {
            name: (min(getattr(m, name)[0] for m in tied), max(getattr(m, name)[1] for m in tied))
            for name in ("alpha", "beta", "gamma")
        }

    def to_dict(self, section: ScalingSection) -> dict[str, Any]:
        """What `scaling/coefficients.yaml` holds."""
        chosen = self.coefficients
        return {
            "alpha": chosen.alpha,
            "beta": chosen.beta,
            "gamma": chosen.gamma,
            "nominal": chosen.nominal,
            "divisor": chosen.divisor,
            "rounding": chosen.rounding,
            "ranges": {name: list(interval) for name, interval in self.ranges().items()},
            "why": self.explain(section),
            "multiple": section.multiple,
            "tolerance": section.tolerance,
            "grid_size": len(self.grid),
            "deviation": self.comparison.deviation,
            "half_width": self.comparison.half_width,
            "margin": self.comparison.margin,
            "members": [self._row(member) for member in self.trained],
        }

    def _row(self, member: Member) -> dict[str, Any]:
        name = member.spec.spec_id
        return {
            "spec_id": name,
            "flops": member.flops,
            "ratio": member.ratio,
            "alpha": list(member.alpha),
            "beta": list(member.beta),
            "gamma": list(member.gamma),
            "resolution": member.spec.resolution,
            "depths": [stage.depth for stage in member.spec.stages],
            "widths": [stage.width for stage in member.spec.stages],
            "accuracies": self.accuracies[name],
            "accuracy": self.comparison.means[name],
            "tied": name in self.comparison.ties,
            "winner": name == self.comparison.winner,
        }

    def explain(self, section: ScalingSection) -> str:
        ties = len(self.comparison.ties)
        told = (
            "it beats all others beyond the noise (95%)"
            if ties == 1
            else f"{ties - 1} of the other {len(self.accuracies) - 1} can't be told from it, so the ranges count, not the point"
        )
        return (
            f"highest mean accuracy over {section.seeds} paired seeds of {len(self.accuracies)} networks (the grid has "
            f"{len(self.grid)}) within {section.tolerance:.1%} of {section.multiple:g} times the baseline's FLOPs; {told}"
        )


def search_coefficients(
    baseline: ArchSpec,
    section: ScalingSection,
    *,
    seed: int,
    largest_side: float,
    ledger: Ledger,
    executor: Executor,
    make_job: MakeJob,
    notify: Notify,
) -> ScalingResult:
    """Train the grid's members (what `ledger` has is replayed) and compare them.

    Raises InputError for a grid that is empty, NothingFound where fewer than two members can be trained.
    """
    grid = make_grid(baseline, section, largest_side=largest_side)
    members = spread(grid, section.members)
    seeds = [seed_of(seed, "scaling", index) for index in range(section.seeds)]
    tasks = [
        Task(
            make_job(member.spec, section.recipe, training_seed),
            {"spec_id": member.spec.spec_id, "baseline": baseline.spec_id, "flops": member.flops, "seed": training_seed},
        )
        for training_seed in seeds
        for member in members
    ]

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        notify(done, total, f"{task.attributes['spec_id']}: {outcome}")

    outcomes = run_batch(tasks, ledger, executor, notify=announce)
    table = paired_accuracies(tasks, outcomes)
    trained = [member for member in members if member.spec.spec_id in table]
    if len(trained) < 2:
        reasons = reasons_of(outcomes)
        raise NothingFound(f"only {len(trained)} networks of the grid could be trained with every seed: {reasons}")
    comparison = compare(table)
    winner = next(member for member in trained if member.spec.spec_id == comparison.winner)
    return ScalingResult(winner.point(section), winner, grid, trained, table, comparison)
