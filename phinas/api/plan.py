"""`phinas plan`: the trainings, FLOPs and hours of a run, before it starts.

The hours follow from a few timed train steps of typical networks on this device. What a benchmark
or a user's function takes is not known here, and the plan says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from phinas.api.arguments import checked_arguments
from phinas.api.keywords import RunOptions, config_from_keywords, keyword_keys
from phinas.experiment.schema.config import Config
from phinas.options.groups import (
    BASELINE_KEYS,
    DATA_KEYS,
    FAMILY_KEYS,
    RUN_KEYS,
    SEARCH_KEYS,
)
from phinas.planning.cost_forecast import RUN_OVERHEAD_HOURS, StagePlan, make_forecast
from phinas.planning.cost_reductions import CostReduction, find_reductions
from phinas.planning.expected_trainings import trains_grid
from phinas.planning.planned_images import UNDECODED_NOTE, PlannedImages
from phinas.planning.proxy_check import (
    PlannedProxyCheck,
    check_before_run,
    require_checkable,
)
from phinas.planning.time_budget import fit_time_budget
from phinas.preflight import check_config
from phinas.run_context import STAGES
from phinas.terminal.progress import Display
from phinas.terminal.text_table import Column, format_minutes, format_table
from phinas.training.timing.latency import MAX_SECONDS, MIN_SECONDS

_RANGE_NOTE = (
    "The ranges depend on the baseline and the coefficients that the run finds, because rounding "
    "makes some networks equal."
)


@dataclass(frozen=True)
class Plan:
    """What a run costs on this device.

    Attributes:
        images: Number of images: train, validation, test, and skipped where it is known.
        stages: The cost of each stage that trains networks.
        not_included: What the plan does not include, in sentences.
        notes: What the images change, and what may stop the run after a part of its trainings, in
            sentences.
        reductions: The settings that make the run shorter, the largest saving first.
        budget: What the time budget changed, in a sentence, or "".
        proxy_check: The check of the search's trainings. None if it was not requested.
    """

    images: dict[str, int]
    stages: tuple[StagePlan, ...]
    not_included: tuple[str, ...]
    notes: tuple[str, ...] = ()
    reductions: tuple[CostReduction, ...] = ()
    budget: str = ""
    proxy_check: PlannedProxyCheck | None = None

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
        """Duration on this device: of all stages, of the start and of the report."""
        return sum(row.hours for row in self.stages) + RUN_OVERHEAD_HOURS

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "images": self.images,
            "stages": [row.to_dict() for row in self.stages],
            "trainings": self.trainings,
            "flops": self.flops,
            "hours": self.hours,
            "not_included": list(self.not_included),
            "notes": list(self.notes),
            "reductions": [row.to_dict() for row in self.reductions],
            "budget": self.budget,
            "proxy_check": None if self.proxy_check is None else self.proxy_check.to_dict(),
        }


@checked_arguments(DATA_KEYS, SEARCH_KEYS, BASELINE_KEYS, FAMILY_KEYS, RUN_KEYS)
def plan(
    data: str | Path | None = None,
    *,
    config: Config | str | Path | None = None,
    stages: Sequence[str] = STAGES,
    settings: Mapping[str, Any] | None = None,
    check_proxy: bool = False,
    quiet: bool = False,
    **options: Unpack[RunOptions],
) -> Plan:
    """Estimate the trainings, FLOPs and hours of a run on this device.

    The images are read, and some networks are timed for a few seconds. Nothing is trained, except
    with `check_proxy`. No file is written, except in the cache of decoded images.

    Args:
        data: The images: "digits", a path (class folders, Parquet files or an .npz file),
            "hf:NAME" or "torchvision:NAME". None: those of `config`, or the quick start on digits
            where there is no `config` either.
        config: A configuration or the path of a YAML file, which the other arguments override.
        stages: The stages of the run: "search", "scale", "validate" and "report".
        settings: Further keys of docs/configuration.md by dotted key, such as
            {"validation.seeds": 3}.
        check_proxy: Train random networks of the search space as the search would, and some of them
            again with another seed. The plan says whether their scores rank networks reliably.
        quiet: Show no progress.
        **options: The options of `phinas plan`, with underscores, such as space ("small_images" or
            the evaluator's), trials (100), epochs (10), max_flops (no limit), baseline, phi, seed
            (0), device ("auto") and workers ("auto").

    Returns:
        The cost of each stage, and the settings that reduce it most.

    Raises:
        InputError: An argument is wrong, or the run would be refused for these images.
        NoResultError: With `check_proxy`, no network could be trained.

    Examples:
        >>> phinas.plan("photos/", space="small_images", trials=60).hours
        3.2
    """
    keys = keyword_keys(DATA_KEYS, SEARCH_KEYS, BASELINE_KEYS, FAMILY_KEYS, RUN_KEYS)
    values = {"data": data, **options}
    config = config_from_keywords(
        "plan", config, values, keys, settings=settings, use_quick_config=True
    )
    check_config(config, stages)
    if check_proxy:
        searches = "search" in stages and config.scaling.baseline is None
        require_checkable(config, searches=searches)
    display = Display(quiet=quiet)
    forecast = make_forecast(config, stages, display)
    networks = forecast.networks(config)
    config, budget = fit_time_budget(config, forecast)
    return Plan(
        _image_counts(forecast.images, forecast.count_images(config)),
        forecast.plan_stages(config),
        tuple(_excluded_costs(config, stages, forecast.images)),
        networks.notes,
        find_reductions(config, forecast),
        budget,
        # of the trainings that the time budget leaves
        check_before_run(config, display) if check_proxy else None,
    )


def _image_counts(images: PlannedImages, used: tuple[int, int]) -> dict[str, int]:
    counts = {"train": used[0], "validation": used[1], "test": images.test}
    return counts if images.skipped is None else counts | {"skipped": images.skipped}


def _excluded_costs(config: Config, stages: Sequence[str], images: PlannedImages) -> list[str]:
    """Sentences about the work of a run that the plan does not include."""
    section = config.search
    notes = [UNDECODED_NOTE] if images.skipped is None else []
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
            + ("" if config.run.latency_runtime == "torch" else ", and their export to ONNX")
        )
    uses_evaluator = config.scaling.coefficients is None and not trains_grid(config)
    if "scale" in stages and uses_evaluator:
        notes.append(
            f"not included: the time that {config.scaling.evaluator} takes for the scaling search"
        )
    return notes


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
        [row.stage, _trainings_cell(row), f"{row.epochs}", *_cost_cells(row)]
        for row in estimate.stages
    ]
    rows.append(["start, report", "", "", "", format_minutes(60 * RUN_OVERHEAD_HOURS)])
    rows.append(["all", f"{estimate.trainings}", "", *_cost_cells(estimate)])
    table = format_table(columns, rows, width=width)
    reductions = [f"  {reduction}" for reduction in estimate.reductions]
    if reductions:
        reductions.insert(0, "settings that save most, each changed alone:")
    budget = [estimate.budget] if estimate.budget else []
    ranges = [_RANGE_NOTE] if any(_is_uncertain(row) for row in estimate.stages) else []
    check = [estimate.proxy_check.message] if estimate.proxy_check else []
    return "\n".join(
        [*table, *ranges, *budget, *reductions, *estimate.not_included, *estimate.notes, *check]
    )


def _is_uncertain(row: StagePlan) -> bool:
    return row.possible is not None and row.possible[0] < row.possible[1]


def _trainings_cell(row: StagePlan) -> str:
    """The expected number of trainings, with its range where the run decides it."""
    if row.possible is None or not _is_uncertain(row):
        return f"{row.trainings}"
    return f"{row.trainings} ({row.possible[0]} to {row.possible[1]})"


def _cost_cells(row: StagePlan | Plan) -> list[str]:
    return [f"{row.flops:.1e}", format_minutes(60 * row.hours)]
