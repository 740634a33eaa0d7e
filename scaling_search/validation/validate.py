"""The family and its controls, trained and measured on the test split.

Nothing before this uses the test split. Members above the affordable multiple of B0's FLOPs, or
with a resolution above the image size, are not trained. Controls are trained with the same seeds.
`validation_summary` compares the results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.artifacts.validation_file import SkipReason
from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor, Job
from phinas.experiment.job_list import Outcome, Task, run_jobs
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, ValidationSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.storage.trial_store import TrialStore
from phinas.scaling_search.race.training_queue import ProgressCallback
from phinas.scaling_search.validation.controls import Control
from phinas.scaling_search.validation.skip_reason import describe_skip, find_image_size_skip
from phinas.space.network import Network


class MakeFinalJob(Protocol):
    """As `phinas.training.engine.job.TrainingJobFactory.job`."""

    def __call__(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        on_test_split: bool,
        weights: Path | None,
    ) -> Job: ...


@dataclass(frozen=True)
class MemberValidation:
    """A member of the family and its trainings.

    Attributes:
        member: The member.
        measurements: One for each seed that did not fail.
        skip: Why it has no measurement; None where it has one.
        failure_reason: Why other seeds failed; "" where none did.
        weights_seed: Seed of the training that saves its weights; None where it is unknown.
    """

    member: FamilyMember
    measurements: list[Measurement]
    skip: SkipReason | None = None
    failure_reason: str = ""
    weights_seed: int | None = None

    @property
    def fits_images(self) -> bool:
        """Whether the images are as large as its resolution."""
        return self.skip is None or self.skip.case != "image_size"


@dataclass(frozen=True)
class ControlValidation:
    """A control and its trainings; attributes as for MemberValidation."""

    control: Control
    measurements: list[Measurement]
    skip: SkipReason | None = None
    failure_reason: str = ""


@dataclass(frozen=True)
class ValidationResult:
    """All rows, in the order of the family and of the configuration."""

    members: list[MemberValidation]
    controls: list[ControlValidation]


@dataclass(frozen=True)
class ValidationContext:
    """What trains networks and records the results.

    Attributes:
        trial_store: The record; trainings that it holds are not repeated.
        executor: Runs the jobs.
        make_job: Makes the jobs.
        weights: The directory for the weights of each member's first seed.
    """

    trial_store: TrialStore
    executor: Executor
    make_job: MakeFinalJob
    weights: Path


def find_skip_reason(
    member: FamilyMember, section: ValidationSection, *, max_resolution: float
) -> SkipReason | None:
    """Why a member is not trained; None where it is."""
    if skip := find_image_size_skip(member.spec, max_resolution=max_resolution):
        return skip
    if member.ratio > section.max_flops_multiple:
        return SkipReason(
            case="max_flops_multiple", flops_ratio=member.ratio, limit=section.max_flops_multiple
        )
    return None


def members_to_train(
    family: Sequence[FamilyMember], section: ValidationSection, *, max_resolution: float
) -> list[FamilyMember]:
    """The members that are small enough for the images and the limit on FLOPs."""
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
    context: ValidationContext,
    on_progress: ProgressCallback,
    controls: Sequence[Control] = (),
) -> ValidationResult:
    """Train the affordable members and the controls, and measure them on the test split.

    Args:
        seed: Of the run.
        max_resolution: Of networks for these images, in px.
        on_progress: Called after each training.

    Raises:
        NoResultError: No member could be trained.
    """
    skips = {
        member.name: find_skip_reason(member, section, max_resolution=max_resolution)
        for member in family
    }
    members = [member for member in family if skips[member.name] is None]
    trainings = _Trainings(section, context, seed=seed)
    trainings.add(members, controls)
    trainings.run(on_progress)
    rows = []
    for member in family:
        measurements, reason = trainings.results_of(member.name)
        skip = skips[member.name] or _failed(measurements, reason)
        failure_reason = reason if measurements else ""
        rows.append(
            MemberValidation(member, measurements, skip, failure_reason, trainings.weights_seed)
        )
    if not any(row.measurements for row in rows):
        skip = rows[0].skip
        raise NoResultError(
            f"no member of the family could be trained: {describe_skip(skip) if skip else ''}"
        )
    control_rows = []
    for control in controls:
        measurements, reason = trainings.results_of(_control_key(control))
        skip = control.skip or _failed(measurements, reason)
        control_rows.append(
            ControlValidation(control, measurements, skip, reason if measurements else "")
        )
    return ValidationResult(rows, control_rows)


def _failed(measurements: Sequence[Measurement], reason: str) -> SkipReason | None:
    """The skip reason where all trainings failed; None otherwise."""
    return None if measurements else SkipReason(case="training_failed", reason=reason)


def _control_key(control: Control) -> str:
    return f"control {control.definition.name}"


class _Trainings:
    """The trainings of members and controls, by name and seed."""

    def __init__(
        self, section: ValidationSection, context: ValidationContext, *, seed: int
    ) -> None:
        self._section, self._context = section, context
        self._seeds = [derive_seed(seed, "validation", index) for index in range(section.seeds)]
        self._tasks: dict[tuple[str, int], Task] = {}
        self._outcomes: Mapping[str, Outcome] = {}

    @property
    def weights_seed(self) -> int:
        """The seed of the trainings that save their weights."""
        return self._seeds[0]

    def add(self, members: Sequence[FamilyMember], controls: Sequence[Control]) -> None:
        """Members come before controls: of two equal networks the one that writes weights is
        trained.
        """
        for seed in self._seeds:
            for member in members:
                path = self._context.weights / f"{member.name}.safetensors"
                weights = path if seed == self.weights_seed else None
                self._tasks[member.name, seed] = self._make_task(
                    member.name, member.spec, member.flops, seed, weights
                )
            for control in controls:
                if control.spec is not None and control.cost is not None and control.skip is None:
                    name = _control_key(control)
                    self._tasks[name, seed] = self._make_task(
                        name, control.spec, control.cost.flops, seed, None
                    )

    def _make_task(
        self, name: str, spec: Network, flops: int, seed: int, weights: Path | None
    ) -> Task:
        job = self._context.make_job(
            spec, self._section.recipe, seed, on_test_split=True, weights=weights
        )
        attributes = {"name": name, "network_id": spec.network_id, "flops": flops, "seed": seed}
        return Task(job, attributes)

    def run(self, on_progress: ProgressCallback) -> None:
        def announce(done: int, total: int, task: Task, outcome: Outcome) -> None:
            name = str(task.user_attrs["name"])
            label = name if " " in name else name.upper()
            on_progress(done, total, f"latest: {label}, {outcome}")

        self._outcomes = run_jobs(
            list(self._tasks.values()),
            self._context.trial_store,
            self._context.executor,
            on_progress=announce,
        )

    def results_of(self, name: str) -> tuple[list[Measurement], str]:
        """The measurements by seed, and why trainings failed."""
        tasks = [self._tasks[name, seed] for seed in self._seeds if (name, seed) in self._tasks]
        outcomes = [self._outcomes[task.job.key] for task in tasks]
        reasons = dict.fromkeys(outcome.reason for outcome in outcomes if outcome.reason)
        measurements = [
            outcome.measurement for outcome in outcomes if outcome.measurement is not None
        ]
        return measurements, "; ".join(reasons)
