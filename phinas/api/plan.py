"""`phinas plan`: the trainings, FLOPs and hours of a run, before it starts.

The hours follow from a few timed train steps of typical networks on this device. What a benchmark
or a user's function takes is not known here, and the plan says so.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from phinas.api.keywords import RunOptions, config_from_keywords, keyword_keys
from phinas.expected_trainings import ExpectedTrainings, expect_trainings, trains_grid
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.options.groups import (
    BASELINE_KEYS,
    DATA_KEYS,
    FAMILY_KEYS,
    RUN_KEYS,
    SEARCH_KEYS,
)
from phinas.preflight import check_config
from phinas.run_context import STAGES, resolve_threads, resolve_workers
from phinas.terminal.text_table import Column, format_table
from phinas.training.timing.latency import MAX_SECONDS, MIN_SECONDS

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData

_TIMED_NETWORKS = 4


@dataclass(frozen=True)
class StagePlan:
    """What one stage costs.

    Attributes:
        stage: The name of the stage.
        trainings: Number of trainings.
        epochs: Epochs of all trainings together.
        flops: Multiply-adds of all trainings together.
        hours: Duration on this device.
    """

    stage: str
    trainings: int
    epochs: int
    flops: float
    hours: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What a run costs on this device.

    Attributes:
        images: Number of images: train, validation, test and skipped.
        stages: The cost of each stage that trains networks.
        not_included: What the plan does not include, in sentences.
    """

    images: dict[str, int]
    stages: tuple[StagePlan, ...]
    not_included: tuple[str, ...]

    @property
    def trainings(self) -> int:
        """Number of trainings in all stages."""
        return sum(row.trainings for row in self.stages)

    @property
    def flops(self) -> float:
        """Multiply-adds of all stages."""
        return sum(row.flops for row in self.stages)

    @property
    def hours(self) -> float:
        """Duration of all stages on this device."""
        return sum(row.hours for row in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "images": self.images,
            "stages": [row.to_dict() for row in self.stages],
            "trainings": self.trainings,
            "flops": self.flops,
            "hours": self.hours,
            "not_included": list(self.not_included),
        }


def plan(
    data: str | None = None,
    *,
    config: Config | str | Path | None = None,
    stages: Sequence[str] = STAGES,
    settings: Mapping[str, Any] | None = None,
    **options: Unpack[RunOptions],
) -> Plan:
    """Estimate the trainings, FLOPs and hours of a run on this device. Nothing is trained.

    The images are read. Only temporary files are written.

    Args:
        data: The images: "digits", a path (class folders, Parquet files or an .npz file),
            "hf:NAME" or "torchvision:NAME". None: those of `config`, or the quick start on digits
            where there is no `config` either.
        config: A configuration or the path of a YAML file, which the other arguments override.
        stages: The stages of the run: "search", "scale", "validate" and "report".
        settings: Further keys of docs/configuration.md by dotted key, such as
            {"validation.seeds": 3}.
        **options: The options of `phinas plan`, with underscores, such as space ("small_images" or
            the evaluator's), trials (100), epochs (10), max_flops (no limit), baseline, phi, seed
            (0), device ("auto") and workers ("auto").

    Returns:
        The cost of each stage. Hours are those of the trainings; reading images is not included.

    Raises:
        InputError: An argument is wrong, or the run would be refused for these images.
        SpecError: The baseline is unknown, or its spec file is wrong.

    Example:
        >>> phinas.plan("photos/", space="small_images", trials=60).hours
        3.2
    """
    from phinas.training.data.prepared_dataset import prepare

    keys = keyword_keys(DATA_KEYS, SEARCH_KEYS, BASELINE_KEYS, FAMILY_KEYS, RUN_KEYS)
    values = {"data": data, **options}
    config = config_from_keywords(
        "plan", config, values, keys, settings=settings, use_quick_config=True
    )
    if config.data is None:
        raise InputError("data.source: is missing; a plan estimates trainings, which need images")
    check_config(config, stages)
    with tempfile.TemporaryDirectory(prefix="phinas-plan-") as directory:
        prepared = prepare(config.data, seed=config.run.seed, directory=Path(directory))
        rows = [
            _plan_stage(expected, config, prepared)
            for expected in expect_trainings(config, prepared, stages)
        ]
    images = {
        "train": prepared.train,
        "validation": prepared.validation,
        "test": prepared.test,
        "skipped": len(prepared.skipped_images),
    }
    return Plan(images, tuple(rows), tuple(_excluded_costs(config, stages)))


def _excluded_costs(config: Config, stages: Sequence[str]) -> list[str]:
    """Sentences about the work of a run that the plan does not include."""
    section, notes = config.search, []
    searches_network = "search" in stages and config.scaling.baseline is None
    if searches_network and section.evaluator != "proxy":
        notes.append(
            f"not included: the time that {section.evaluator} takes for the {section.trials} "
            "networks of the search"
        )
    if searches_network and section.cost == "latency":
        notes.append(
            f"not included: the latency measurement of the {section.trials} networks of the "
            f"search, {MIN_SECONDS:g} to {MAX_SECONDS:g} s each"
        )
    uses_evaluator = config.scaling.coefficients is None and not trains_grid(config)
    if "scale" in stages and uses_evaluator:
        notes.append(
            f"not included: the time that {config.scaling.evaluator} takes for the scaling search"
        )
    return notes


def _plan_stage(expected: ExpectedTrainings, config: Config, data: "PreparedData") -> StagePlan:
    """Estimate a stage from a few timed steps of some of its networks."""
    from phinas.training.engine.device import resolve_device, set_determinism
    from phinas.training.timing.time_estimate import estimate_training_seconds

    set_determinism(deterministic=config.run.deterministic)
    max_workers = resolve_workers(config.run)
    threads = resolve_threads(config.run, max_workers=max_workers)
    device = resolve_device(config.run.device)
    step = max(1, len(expected.networks) // _TIMED_NETWORKS)
    seconds = [
        estimate_training_seconds(
            spec,
            expected.recipe,
            train_images=data.train,
            val_images=data.validation,
            device=device,
            threads=threads,
        )
        for spec in expected.networks[::step]
    ]
    mean_seconds = sum(seconds) / len(seconds)
    mean_flops = sum(spec.cost().flops for spec in expected.networks) / len(expected.networks)
    # Backward costs about twice forward; an epoch ends with a forward pass over the validation
    # images.
    images = 3 * data.train + data.validation
    full_trainings = expected.epochs / expected.recipe.epochs
    return StagePlan(
        stage=expected.stage,
        trainings=expected.trainings,
        epochs=expected.epochs,
        flops=expected.epochs * mean_flops * images,
        hours=full_trainings * mean_seconds / max_workers / 3600,
    )


def as_text(estimate: Plan, *, width: int | None = None) -> str:
    """The plan as a table.

    Args:
        width: Characters of a line; None: unlimited.
    """
    columns = [
        Column("stage", "left"),
        *(Column(title) for title in ("trainings", "epochs", "FLOPs", "time")),
    ]
    rows = [
        [row.stage, f"{row.trainings}", f"{row.epochs}", *_cost_cells(row)]
        for row in estimate.stages
    ]
    rows.append(["all", f"{estimate.trainings}", "", *_cost_cells(estimate)])
    return "\n".join([*format_table(columns, rows, width=width), *estimate.not_included])


def _cost_cells(row: StagePlan | Plan) -> list[str]:
    return [f"{row.flops:.1e}", _format_hours(row.hours)]


def _format_hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
