"""The family, trained briefly: its accuracy on the test split, which nothing before this has seen;
and its controls beside it.

Members above the affordable multiple of B0's FLOPs, or larger than the images can show, are not
trained and are marked so. Controls are trained in the same list with the same seeds. What all this
says: `findings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phinas.experiment.errors import NothingFound
from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, run_batch
from phinas.experiment.measurement import Measurement, wilson_interval
from phinas.experiment.schema.config import Recipe, ValidationSection
from phinas.experiment.seeds import seed_of
from phinas.experiment.trial_store import Ledger
from phinas.scaling_search.family.family import FamilyMember
from phinas.scaling_search.race.search import Notify
from phinas.scaling_search.validation.controls import Control, beyond_images
from phinas.space.spec import ArchSpec


class MakeFinalJob(Protocol):
    """As `phinas.training.engine.job.Trainer.job`."""

    def __call__(
        self, spec: ArchSpec, recipe: Recipe, seed: int, *, final: bool, weights: Path | None
    ) -> Job: ...


@dataclass(frozen=True)
class Validated:
    """A member and its trainings; `why_not` says why there are none; shown: the images have as many
    pixels as it sees.
    """

    member: FamilyMember
    measurements: list[Measurement]
    why_not: str = ""
    shown: bool = True

    def to_dict(self) -> dict[str, Any]:
        """A row of `scaling/validation.yaml`: what the member is, and `_told`."""
        row: dict[str, Any] = {
            "name": self.member.name,
            "phi": self.member.phi,
            "spec_id": self.member.spec.spec_id,
        }
        row |= {
            "flops": self.member.cost.flops,
            "params": self.member.cost.params,
            "ratio": self.member.ratio,
        }
        if not self.measurements:
            return row | {"validated": False, "why_not": self.why_not}
        return row | {"validated": True} | _told(self.measurements, self.why_not)


@dataclass(frozen=True)
class ValidatedControl:
    """A control and its trainings; `why_not` says why there are none, or why some failed."""

    control: Control
    measurements: list[Measurement]
    why_not: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A row of `scaling/validation.yaml` but for the comparison; null for what there is not."""
        control, coefficients = self.control, self.control.rule.coefficients
        spec, cost, against = control.spec, control.cost, control.against
        row: dict[str, Any] = {"name": control.rule.name, "rule": control.rule.words}
        row |= {"against": against.name if against else None, "phi": control.phi}
        row |= {
            name: getattr(coefficients, name) if coefficients else None
            for name in ("alpha", "beta", "gamma")
        }
        row |= {"spec": spec.to_dict() if spec else None, "spec_id": spec.spec_id if spec else None}
        row |= {
            "flops": cost.flops if cost else None,
            "params": cost.params if cost else None,
            "ratio": control.ratio,
        }
        if not self.measurements:
            return row | {"validated": False, "why_not": self.why_not}
        return row | {"validated": True, "why_not": ""} | _told(self.measurements, self.why_not)


@dataclass(frozen=True)
class Validation:
    """All rows, in the order of the family and of the configuration."""

    members: list[Validated]
    controls: list[ValidatedControl]


def _told(measurements: Sequence[Measurement], failed: str) -> dict[str, Any]:
    """interval: 95%, of the mean accuracy, for the finite number of test images; failed: why seeds
    that are missing from `accuracies` failed, or ""."""
    accuracies = [measured.accuracy for measured in measurements]
    mean = sum(accuracies) / len(accuracies)
    return {
        "accuracies": accuracies,
        "accuracy": mean,
        "interval": list(wilson_interval(mean, measurements[0].images)),
        "images": measurements[0].images,
        "train_seconds": sum(measured.train_seconds for measured in measurements),
        "failed": failed,
    }


def reason_to_skip(member: FamilyMember, section: ValidationSection, *, largest_side: float) -> str:
    """Why a member is not trained; "" where it is."""
    if too_large := beyond_images(member.spec, largest_side=largest_side):
        return too_large
    if member.ratio > section.largest_multiple:
        return (
            f"{member.ratio:.1f} times B0's FLOPs; validation.largest_multiple is "
            f"{section.largest_multiple:g}"
        )
    return ""


def members_to_train(
    family: Sequence[FamilyMember], section: ValidationSection, *, largest_side: float
) -> list[FamilyMember]:
    return [
        member
        for member in family
        if not reason_to_skip(member, section, largest_side=largest_side)
    ]


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
    controls: Sequence[Control] = (),
) -> Validation:
    """Train the affordable members and the controls (what `ledger` has is replayed); the weights of
    each member's first seed go to `weights`.

    Raises NothingFound where no member at all could be trained.
    """
    skipped = {
        member.name: reason_to_skip(member, section, largest_side=largest_side) for member in family
    }
    members = [member for member in family if not skipped[member.name]]
    seeds = [seed_of(seed, "validation", index) for index in range(section.seeds)]

    def task(
        spec: ArchSpec, training_seed: int, *, name: str, flops: int, path: Path | None = None
    ) -> Task:
        job = make_job(spec, section.recipe, training_seed, final=True, weights=path)
        return Task(
            job, {"name": name, "spec_id": spec.spec_id, "flops": flops, "seed": training_seed}
        )

    tasks: dict[tuple[str, int], Task] = {}
    for training_seed in seeds:
        for (
            member
        ) in members:  # before controls: of two alike the one that writes weights is trained
            path = weights / f"{member.name}.safetensors" if training_seed == seeds[0] else None
            name, flops = member.name, member.cost.flops
            tasks[name, training_seed] = task(
                member.spec, training_seed, name=name, flops=flops, path=path
            )
        for control in controls:
            if control.spec is not None and control.cost is not None and not control.why_not:
                name = f"control {control.rule.name}"
                tasks[name, training_seed] = task(
                    control.spec, training_seed, name=name, flops=control.cost.flops
                )

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        name = str(task.attributes["name"])
        notify(done, total, f"{name if ' ' in name else name.upper()} on the test split: {outcome}")

    outcomes = run_batch(list(tasks.values()), ledger, executor, notify=announce)

    def found(name: str) -> tuple[list[Measurement], str]:
        results = [outcomes[tasks[name, each].job.key] for each in seeds if (name, each) in tasks]
        reasons = [outcome.reason for outcome in results if outcome.reason]
        measurements = [
            outcome.measurement for outcome in results if outcome.measurement is not None
        ]
        return measurements, "; ".join(dict.fromkeys(reasons))

    rows = []
    for member in family:
        measurements, failed = found(member.name)
        shown = not beyond_images(member.spec, largest_side=largest_side)
        rows.append(Validated(member, measurements, skipped[member.name] or failed, shown))
    if not any(row.measurements for row in rows):
        raise NothingFound(f"no member of the family could be trained: {rows[0].why_not}")
    tried = []
    for control in controls:
        measurements, failed = found(f"control {control.rule.name}")
        tried.append(ValidatedControl(control, measurements, control.why_not or failed))
    return Validation(rows, tried)
