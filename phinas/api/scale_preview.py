"""`phinas scale --dry-run` and `--compare-published`: what a scaling search would compare, and the
published family next to compound scaling.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from phinas.adapt_to_data import baseline_for_data, largest_resolution, max_resolution
from phinas.api.plan import Plan, plan
from phinas.api.plan import as_text as plan_as_text
from phinas.builder_checks import check_builder
from phinas.experiment.artifacts.coefficients_file import GridMemberRecord
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.planning.planned_images import read_planned_images
from phinas.reports.formatting import format_count, format_interval, join_numbers, pluralize
from phinas.scaling_evaluator import can_pause_trainings
from phinas.scaling_search.family.published_comparison import (
    DimensionComparison,
    NetworkComparison,
    compare_published,
    summarize_differences,
)
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.grid_member import describe_constraint
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.nominal import nominal_grid
from phinas.scaling_search.grid.resolutions import adapt_section
from phinas.scaling_search.race.search import make_race
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.network import ScalableNetwork
from phinas.terminal.text_table import Column, format_table


@dataclass(frozen=True)
class GridPreview:
    """What a scaling search would compare.

    Attributes:
        baseline: As `scaling.baseline` names it.
        resolution: Of the baseline, in px.
        flops: Of the baseline, multiply-adds per image.
        constraint: What the networks of the grid have in common, in words.
        warning: Why they are not comparable, or "".
        members: The networks of the grid.
        trained: The network_id of those that would be trained.
        trainings: Trainings at most.
        epochs: Epochs at most.
        full_grid_epochs: Epochs of every network with every seed.
        plan: The cost; None without images.
    """

    baseline: str
    resolution: int
    flops: int
    constraint: str
    warning: str
    members: tuple[GridMemberRecord, ...]
    trained: frozenset[str]
    trainings: int
    epochs: int
    full_grid_epochs: int
    plan: Plan | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "trained"
        }
        return data | {
            "members": [
                row.to_dict() | {"trained": row.network_id in self.trained} for row in self.members
            ],
            "plan": self.plan.to_dict() if self.plan else None,
        }


def dry_run(config: Config, *, reducible: str = "") -> GridPreview:
    """The grid around `scaling.baseline`, the networks that would be trained, and their cost if
    there are images.

    Args:
        config: The configuration.
        reducible: The beginning of the keys that the plan may suggest to reduce.

    Raises:
        InputError: As the search would.
    """
    if config.scaling.baseline is None:
        raise InputError(
            "--dry-run: has no network to scale; name a run directory, or use --baseline with a "
            "preset, spec file or timm:NAME"
        )
    if config.data is None:
        baseline, resolution_limit, cost_estimate = baseline_for_data(config, None), math.inf, None
    else:
        baseline, resolution_limit = _baseline_for_images(config)
        cost_estimate = plan(config=config, stages=("scale",))
        suggested = [row for row in cost_estimate.reductions if row.key.startswith(reducible)]
        cost_estimate = replace(cost_estimate, reductions=tuple(suggested))
    if isinstance(baseline, BuiltNetwork):
        check_builder(baseline, config)
    section = adapt_section(config.scaling, baseline.resolution, max_resolution=resolution_limit)
    members = make_grid(baseline, section, max_resolution=resolution_limit)
    race_members = farthest_point_sample(members, section.max_grid_members)
    race = make_race(race_members, baseline, section, can_pause=can_pause_trainings(config))
    warning = (
        nominal_grid(baseline, section, max_resolution=resolution_limit).warning()
        if section.constraint == "nominal"
        else ""
    )
    return GridPreview(
        baseline=config.scaling.baseline,
        resolution=baseline.resolution,
        flops=baseline.cost().flops,
        constraint=describe_constraint(section),
        warning=warning,
        members=tuple(member.to_record() for member in members),
        trained=frozenset(member.spec.network_id for member in race_members),
        trainings=race.max_trainings,
        epochs=race.max_epochs,
        full_grid_epochs=race.full_grid_epochs,
        plan=cost_estimate,
    )


def _baseline_for_images(config: Config) -> tuple[ScalableNetwork, float]:
    """The baseline for the images, and the largest resolution in px for networks."""
    assert config.data is not None
    images = read_planned_images(
        config.data, seed=config.run.seed, max_size=largest_resolution(config)
    )
    return baseline_for_data(config, images), max_resolution(config, images)


def grid_as_text(preview: GridPreview, *, width: int | None = None) -> str:
    """A row for each network of the grid, those to be trained marked by `*`.

    Args:
        width: Characters of a line of the tables; None: unlimited.
    """
    columns = [
        Column("", "left"),
        *(Column(title) for title in ("alpha", "beta", "gamma", "px", "FLOPs", "times B0")),
        *(Column(title, "left", wrap=True) for title in _dimension_titles(preview)),
    ]
    rows = [
        [
            "*" if member.network_id in preview.trained else "",
            *(format_interval(*interval) for interval in member.intervals.values()),
            f"{member.resolution}",
            format_count(member.flops),
            f"{member.ratio:.3f}",
            *_dimension_cells(member),
        ]
        for member in preview.members
    ]
    lines = [
        f"{pluralize(len(preview.members), 'network')} {preview.constraint} "
        f"({format_count(preview.flops)} at {preview.resolution} px):",
        *format_table(columns, rows, width=width),
    ]
    saves_epochs = preview.epochs < preview.full_grid_epochs
    comparison = f" (the full grid: {preview.full_grid_epochs})" if saves_epochs else ""
    lines.append(
        f"* {len(preview.trained)} would be trained: at most {preview.trainings} trainings, "
        f"{preview.epochs} epochs{comparison}"
    )
    if preview.warning:
        lines.append(f"warning: {preview.warning}")
    if preview.plan is not None:
        lines.append(plan_as_text(preview.plan, width=width))
    return "\n".join(lines)


def _dimension_titles(preview: GridPreview) -> tuple[str, str]:
    """The columns of depth and width. The stages of a model builder's networks are unknown."""
    if any(member.built_network is not None for member in preview.members):
        return "depth factor", "width factor"
    return "blocks by stage", "channels by stage"


def _dimension_cells(member: GridMemberRecord) -> tuple[str, str]:
    network = member.built_network
    if isinstance(network, BuiltNetwork):
        return f"{network.depth:.3g}", f"{network.width:.3g}"
    return join_numbers(member.depths), join_numbers(member.widths)


def compare_with_published(config: Config) -> list[NetworkComparison]:
    """B1..B7, published and computed by compound scaling of B0.

    Raises:
        InputError: The baseline is not EfficientNet-B0.
    """
    if config.scaling.baseline != "efficientnet_b0":
        raise InputError(
            "--compare-published: only efficientnet_b0 has a published family; use "
            "--baseline efficientnet_b0"
        )
    return compare_published()


def published_as_dict(rows: list[NetworkComparison]) -> dict[str, Any]:
    """The comparison with the published family as plain data."""
    return {"rows": [row.to_dict() for row in rows], "difference": summarize_differences(rows)}


def published_as_text(rows: list[NetworkComparison], *, width: int | None = None) -> str:
    """The comparison with the published family; its table has lines of `width` characters."""
    columns = [
        Column("", "left"),
        Column("phi"),
        *(Column(title, "left") for title in ("depth", "width", "resolution", "dropout", "FLOPs")),
    ]
    cells = [
        [
            row.name,
            f"{row.phi:g}",
            _dimension_text(row.depth),
            _dimension_text(row.width),
            f"{row.resolution.computed_sizes[0]} "
            f"{row.resolution.published_sizes[0]}{_implied_text(row.resolution.implied_phi)}",
            f"{row.computed_dropout:.2f} {row.published_dropout:.2f}",
            f"{format_count(row.flops.computed)} "
            f"{format_count(row.flops.published)}{_implied_text(row.flops.implied_phi)}",
        ]
        for row in rows
    ]
    return "\n".join(
        [
            "computed with EfficientNet's 1.2, 1.1, 1.15 and published, and the phi that each "
            "published number implies",
            *format_table(columns, cells, width=width),
            summarize_differences(rows),
        ]
    )


def _dimension_text(dimension: DimensionComparison) -> str:
    return (
        f"{dimension.computed:.2f} {dimension.published:.2f}{_implied_text(dimension.implied_phi)}"
    )


def _implied_text(phi: float | None) -> str:
    return "" if phi is None else f" (phi {phi:.2f})"
