"""The family, trained briefly: its accuracy on the test split, which nothing before this has seen;
and its controls beside it.

Members above the affordable multiple of B0's FLOPs, or larger than the images can show, are not
trained and are marked so. Controls are trained in the same list with the same seeds. What all this
says: `validation_summary`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, run_jobs
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, ValidationSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.statistics.intervals import wilson_interval
from phinas.experiment.trial_store import TrialStore
from phinas.scaling_search.family.family import FamilyMember
from phinas.scaling_search.race.search import ProgressCallback
from phinas.scaling_search.validation.controls import Control, image_size_skip_reason
from phinas.space.spec import ArchSpec


class MakeFinalJob(Protocol):
    """As `phinas.training.engine.job.TrainingJobFactory.job`."""

    def __call__(
        self,
        spec: ArchSpec,
        recipe: Recipe,
        seed: int,
        *,
        on_test_split: bool,
        weights: Path | None,
    ) -> Job: ...


@dataclass(frozen=True)
class MemberValidation:
    """A member and its trainings; `skip_reason` says why there are none; fits_images: the images
    are as large as its resolution.
    """

    member: FamilyMember
    measurements: list[Measurement]
    skip_reason: str = ""
    fits_images: bool = True

    def to_dict(self) -> dict[str, Any]:
        """A row of `scaling/validation.yaml`: what the member is, and `_summarize`."""
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
            return row | {"validated": False, "skip_reason": self.skip_reason}
        return row | {"validated": True} | _summarize(self.measurements, self.skip_reason)


@dataclass(frozen=True)
class ControlValidation:
    """A control and its trainings; `skip_reason` says why there are none, or why some failed."""

    control: Control
    measurements: list[Measurement]
    skip_reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A row of `scaling/validation.yaml` but for the comparison; null for what there is not."""
        control, coefficients = self.control, self.control.definition.coefficients
        spec, cost, family_member = control.spec, control.cost, control.family_member
        row: dict[str, Any] = {"name": control.definition.name, "label": control.definition.label}
        row |= {"family_member": family_member.name if family_member else None, "phi": control.phi}
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
            return row | {"validated": False, "skip_reason": self.skip_reason}
        return (
            row
            | {"validated": True, "skip_reason": ""}
            | _summarize(self.measurements, self.skip_reason)
        )


@dataclass(frozen=True)
class ValidationResult:
    """All rows, in the order of the family and of the configuration."""

    members: list[MemberValidation]
    controls: list[ControlValidation]


def _summarize(measurements: Sequence[Measurement], failure_reason: str) -> dict[str, Any]:
    """interval: 95%, of the mean accuracy, for the finite number of test images; failure_reason:
    why seeds that are missing from `accuracies` failed, or ""."""
    accuracies = [measurement.accuracy for measurement in measurements]
    mean = sum(accuracies) / len(accuracies)
    return {
        "accuracies": accuracies,
        "accuracy": mean,
        "interval": list(wilson_interval(mean, measurements[0].images)),
        "images": measurements[0].images,
        "train_seconds": sum(measurement.train_seconds for measurement in measurements),
        "failure_reason": failure_reason,
    }


def find_skip_reason(
    member: FamilyMember, section: ValidationSection, *, max_resolution: float
) -> str:
    """Why a member is not trained; "" where it is."""
    if size_reason := image_size_skip_reason(member.spec, max_resolution=max_resolution):
        return size_reason
    if member.ratio > section.max_flops_multiple:
        return (
            f"{member.ratio:.1f} times B0's FLOPs; validation.max_flops_multiple is "
            f"{section.max_flops_multiple:g}"
        )
    return ""


def members_to_train(
    family: Sequence[FamilyMember], section: ValidationSection, *, max_resolution: float
) -> list[FamilyMember]:
    return [
        member
        for member in family
        if not find_skip_reason(member, section, max_resolution=max_resolution)
    ]


def validate_family(
    family: Sequence[FamilyMember],
    section: ValidationSection,
    *,
    seed: int,
    max_resolution: float,
    trial_store: TrialStore,
    executor: Executor,
    make_job: MakeFinalJob,
    weights: Path,
    on_progress: ProgressCallback,
    controls: Sequence[Control] = (),
) -> ValidationResult:
    """Train the affordable members and the controls (what `trial_store` has is replayed); the
    weights of each member's first seed go to `weights`.

    Raises NoResultError where no member at all could be trained.
    """
    skip_reasons = {
        member.name: find_skip_reason(member, section, max_resolution=max_resolution)
        for member in family
    }
    members = [member for member in family if not skip_reasons[member.name]]
    seeds = [derive_seed(seed, "validation", index) for index in range(section.seeds)]

    def task(
        spec: ArchSpec, training_seed: int, *, name: str, flops: int, path: Path | None = None
    ) -> Task:
        job = make_job(spec, section.recipe, training_seed, on_test_split=True, weights=path)
        return Task(
            job, {"name": name, "spec_id": spec.spec_id, "flops": flops, "seed": training_seed}
        )

    tasks: dict[tuple[str, int], Task] = {}
    for training_seed in seeds:
        # Members come before controls: of two equal networks the one that writes weights is
        # trained.
        for member in members:
            path = weights / f"{member.name}.safetensors" if training_seed == seeds[0] else None
            name, flops = member.name, member.cost.flops
            tasks[name, training_seed] = task(
                member.spec, training_seed, name=name, flops=flops, path=path
            )
        for control in controls:
            if control.spec is not None and control.cost is not None and not control.skip_reason:
                name = f"control {control.definition.name}"
                tasks[name, training_seed] = task(
                    control.spec, training_seed, name=name, flops=control.cost.flops
                )

    def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
        name = str(task.user_attrs["name"])
        on_progress(
            done, total, f"{name if ' ' in name else name.upper()} on the test split: {outcome}"
        )

    outcomes = run_jobs(list(tasks.values()), trial_store, executor, on_progress=announce)

    def results_of(name: str) -> tuple[list[Measurement], str]:
        results = [outcomes[tasks[name, seed].job.key] for seed in seeds if (name, seed) in tasks]
        reasons = [outcome.reason for outcome in results if outcome.reason]
        measurements = [
            outcome.measurement for outcome in results if outcome.measurement is not None
        ]
        return measurements, "; ".join(dict.fromkeys(reasons))

    rows = []
    for member in family:
        measurements, failure_reason = results_of(member.name)
        fits_images = not image_size_skip_reason(member.spec, max_resolution=max_resolution)
        rows.append(
            MemberValidation(
                member, measurements, skip_reasons[member.name] or failure_reason, fits_images
            )
        )
    if not any(row.measurements for row in rows):
        raise NoResultError(f"no member of the family could be trained: {rows[0].skip_reason}")
    control_rows = []
    for control in controls:
        measurements, failure_reason = results_of(f"control {control.definition.name}")
        control_rows.append(
            ControlValidation(control, measurements, control.skip_reason or failure_reason)
        )
    return ValidationResult(rows, control_rows)
