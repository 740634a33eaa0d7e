"""`phinas scale --dry-run` and `--compare-published`: what a scaling search would compare, and the
published family next to compound scaling.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

from phinas.adapt_to_data import baseline_for_data, max_resolution
from phinas.api.plan import as_text as plan_as_text
from phinas.api.plan import plan
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.reports.formatting import format_count, format_interval, join_numbers, pluralize
from phinas.scaling_search.family.published_comparison import (
    DimensionComparison,
    NetworkComparison,
    compare_published,
    summarize_differences,
)
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.grid_member import describe_constraint, describe_grid
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.nominal import nominal_grid
from phinas.scaling_search.race.search import make_race
from phinas.space.cost import network_cost
from phinas.space.spec import ArchSpec
from phinas.terminal.text_table import Column, format_table


def dry_run(config: Config) -> dict[str, Any]:
    """The grid around `scaling.baseline`, the networks that would be trained, and their cost where
    there are images, as plain data. Raises InputError as the search would.
    """
    if config.scaling.baseline is None:
        raise InputError(
            "scale --dry-run: name a run directory, or --baseline with a preset, spec file or "
            "timm:NAME"
        )
    if config.data is None:
        baseline, resolution_limit, cost_estimate = baseline_for_data(config, None), math.inf, None
    else:
        baseline, resolution_limit = _prepared_baseline(config)
        cost_estimate = plan(config, stages=("scale",))
    section = config.scaling
    members = make_grid(baseline, section, max_resolution=resolution_limit)
    race_members = farthest_point_sample(members, section.max_grid_members)
    race = make_race(race_members, baseline, section)
    trained = {member.spec.spec_id for member in race_members}
    warning = (
        nominal_grid(baseline, section, max_resolution=resolution_limit).warning()
        if section.constraint == "nominal"
        else ""
    )
    return {
        "baseline": section.baseline,
        "resolution": baseline.resolution,
        "flops": network_cost(baseline).flops,
        "constraint": describe_constraint(section),
        "warning": warning,
        "members": [row | {"trained": row["spec_id"] in trained} for row in describe_grid(members)],
        "trainings": race.max_trainings,
        "epochs": race.max_epochs,
        "full_grid_epochs": race.full_grid_epochs,
        "plan": cost_estimate,
    }


def _prepared_baseline(config: Config) -> tuple[ArchSpec, float]:
    """The baseline for the images, and the largest resolution in px for networks."""
    from phinas.training.data.prepared_dataset import prepare

    assert config.data is not None
    with tempfile.TemporaryDirectory(prefix="phinas-plan-") as directory:
        data = prepare(config.data, seed=config.run.seed, directory=Path(directory))
        return baseline_for_data(config, data), max_resolution(config, data)


def grid_as_text(preview: dict[str, Any], *, width: int | None = None) -> str:
    """A row for each network of the grid, those to be trained marked by `*`.

    Args:
        width: Characters of a line of the tables; None: unlimited.
    """
    members = preview["members"]
    columns = [
        Column("", "left"),
        *(Column(title) for title in ("alpha", "beta", "gamma", "px", "FLOPs", "times")),
        Column("blocks a stage", "left", wrap=True),
        Column("channels a stage", "left", wrap=True),
    ]
    rows = [
        [
            "*" if member["trained"] else "",
            *(format_interval(*member[name]) for name in ("alpha", "beta", "gamma")),
            f"{member['resolution']}",
            format_count(member["flops"]),
            f"{member['ratio']:.3f}",
            join_numbers(member["depths"]),
            join_numbers(member["widths"]),
        ]
        for member in members
    ]
    lines = [
        f"{pluralize(len(members), 'network')} {preview['constraint']} "
        f"({format_count(preview['flops'])} at {preview['resolution']} px):",
        *format_table(columns, rows, width=width),
    ]
    num_trained = sum(member["trained"] for member in members)
    epochs, full_grid_epochs = preview["epochs"], preview["full_grid_epochs"]
    comparison = f" (the full grid: {full_grid_epochs})" if epochs < full_grid_epochs else ""
    lines.append(
        f"* {num_trained} would race: at most {preview['trainings']} trainings, "
        f"{epochs} epochs{comparison}"
    )
    if preview["warning"]:
        lines.append(f"warning: {preview['warning']}")
    if preview["plan"]:
        lines.append(plan_as_text(preview["plan"], width=width))
    return "\n".join(lines)


def compare_with_published(config: Config) -> list[NetworkComparison]:
    """B1..B7 as published and by compound scaling of B0.

    Raises:
        InputError: The baseline is not EfficientNet-B0.
    """
    if config.scaling.baseline != "efficientnet_b0":
        raise InputError(
            "scale --compare-published: only efficientnet_b0 has a published family; use "
            "--baseline "
            "efficientnet_b0"
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
            "the rule (1.2, 1.1, 1.15) and the published family, and the phi that each published "
            "number implies",
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
