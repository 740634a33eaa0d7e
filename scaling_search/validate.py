"""The family, trained briefly: its accuracy on the test split, which nothing before this has seen.

Members above the affordable multiple of B0's FLOPs, or larger than the images can show, are not trained and are marked so;
nothing is extrapolated to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from experiment.batch import Outcome, Task, run_batch
from experiment.config import Recipe, ValidationSection
from experiment.errors import NothingFound
from experiment.executors import Executor, Job
from experiment.measurement import Measurement, wilson_interval
from experiment.seeds import seed_of
from experiment.store import Ledger
from scaling_search.family import FamilyMember
from scaling_search.search import Notify
from space.spec import ArchSpec


class MakeFinalJob(Protocol):
    """As `training.job.Trainer.job`."""

    def __call__(self, spec: ArchSpec, recipe: Recipe, seed: int, *, final: bool, weights: Path | None) -> Job: ...


@dataclass(frozen=True)
class Validated:
    """A member and its trainings; `why_not` says why there are none."""

    member: FamilyMember
    measurements: list[Measurement]
    why_not: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A row of `scaling/validation.yaml`. interval: 95%, of the mean accuracy, for the finite number of test images;
        failed: why seeds that are missing from `accuracies` failed, or ""."""
        row: dict[str, Any] = {"name": self.member.name, "phi": self.member.phi, "spec_id": self.member.spec.spec_id}
        row |= {"flops": self.member.cost.flops, "params": self.member.cost.params, "ratio": self.member.ratio}
        if not self.measurements:
            return row | {"validated": False, "why_not": self.why_not}
        accuracies = [measured.accuracy for measured in self.measurements]
        mean = sum(accuracies) / len(accuracies)
        return row | {
            "validated": True,
            "accuracies": accuracies,
            "accuracy": mean,
            "interval": list(wilson_interval(mean, self.measurements[0].images)),
            "images": self.measurements[0].images,
            "train_seconds": sum(measured.train_seconds for measured in self.measurements),
            "failed": self.why_not,
        }


def reason_to_skip(member: FamilyMember, section: ValidationSection, *, largest_side: float) -> str:
    """Why a member is not trained; "" where it is."""
    if member.ratio > section.largest_multiple:
        return f"{member.ratio:.1f} times B0's FLOPs; validation.largest_multiple is {section.largest_multiple:g}"
    if member.spec.resolution > largest_side:
        return f"needs {member.spec.resolution} pixels of a side, the images have {largest_side:g}; see data.upsample"
    return ""


def validate_family(
    family: Sequence[FamilyMember],
    section: ValidationSection,
    *,
    seed: int,
    largest_side: float,
    ledger: Ledger,
    executor: Executor,
    make_job: MakeFinalJob,
    weights: Path,
    notify: Notify,
) -> list[Validated]:
    """Train the affordable members (what `ledger` has is replayed); the weights of the first seed go to `weights`.

    Raises NothingFound where no member at all could be trained.
    """
    skipped = {member.name: reason_to_skip(member, section, largest_side=largest_side) for member in family}
    seeds = [seed_of(seed, "validation", index) for index in range(section.seeds)]
    tasks: dict[tuple[str, int], Task] = {}
    for training_seed in seeds:
        for member in family:
            if not skipped[member.name]:
                path = weights / f"{member.name}.safetensors" if training_seed == seeds[0] else None
                job = make_job(member.spec, section.recipe, training_seed, final=True, weights=path)
                attributes = {"name": member.name, "spec_id": member.spec.spec_id, "flops": member.cost.flops}
                tasks[member.name, training_seed] = Task(job, attributes | {"seed": training_seed})

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        notify(done, total, f"{task.attributes['name'].upper()} on the test split: {outcome}")

    outcomes = run_batch(list(tasks.values()), ledger, executor, notify=announce)
    rows = []
    for member in family:
        results = [outcomes[tasks[member.name, s].job.key] for s in seeds] if not skipped[member.name] else []
        measurements = [outcome.measurement for outcome in results if outcome.measurement is not None]
        reasons = [outcome.reason for outcome in results if outcome.reason]
        rows.append(Validated(member, measurements, skipped[member.name] or "; ".join(dict.fromkeys(reasons))))
    if not any(row.measurements for row in rows):
        raise NothingFound(f"no member of the family could be trained: {rows[0].why_not}")
    return rows
