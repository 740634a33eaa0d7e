"""`phinas scale --dry-run` and `--published`: what a scaling search would compare, and the
published family beside the rule.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

from phinas.adapt_to_data import fitted_baseline, largest_side
from phinas.api.plan import as_text as plan_as_text
from phinas.api.plan import plan
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.reports.formatting import counted, joined, quantity, span
from phinas.scaling_search.family.published_comparison import (
    Dimension,
    Row,
    compare_published,
    difference,
)
from phinas.scaling_search.grid.grid_member import constraint_in_words
from phinas.scaling_search.grid.measured_grid import describe_grid, make_grid, spread
from phinas.scaling_search.grid.nominal import nominal_grid
from phinas.scaling_search.race.search import make_race
from phinas.space.cost import cost
from phinas.space.spec import ArchSpec


def dry_run(config: Config) -> dict[str, Any]:
    """The grid around `scaling.baseline`, which of it would be trained, and what that costs where
    images are named, as plain data. Raises InputError as the search would."""
    if config.scaling.baseline is None:
        raise InputError(
            "scale --dry-run: name a run directory, or --baseline with a preset, spec file or "
            "timm:NAME"
        )
    if config.data is None:
        baseline, largest, priced = fitted_baseline(config, None), math.inf, None
    else:
        baseline, largest = _on_images(config)
        priced = plan(config, stages=("scale",))
    section = config.scaling
    members = make_grid(baseline, section, largest_side=largest)
    raced = spread(members, section.members)
    race = make_race(raced, baseline, section)
    trained = {member.spec.spec_id for member in raced}
    warning = (
        nominal_grid(baseline, section, largest_side=largest).warning()
        if section.constraint == "nominal"
        else ""
    )
    return {
        "baseline": section.baseline,
        "resolution": baseline.resolution,
        "flops": cost(baseline).flops,
        "constraint": constraint_in_words(section),
        "warning": warning,
        "members": [row | {"trained": row["spec_id"] in trained} for row in describe_grid(members)],
        "trainings": race.most_trainings,
        "epochs": race.budget,
        "full_grid_epochs": race.full_grid,
        "plan": priced,
    }


def _on_images(config: Config) -> tuple[ArchSpec, float]:
    """The baseline for the images, and the pixels of a side that they show."""
    from phinas.training.data.prepared_dataset import prepare

    assert config.data is not None
    with tempfile.TemporaryDirectory(prefix="phinas-plan-") as directory:
        data = prepare(config.data, seed=config.run.seed, directory=Path(directory))
        return fitted_baseline(config, data), largest_side(config, data)


def grid_as_text(facts: dict[str, Any]) -> str:
    """For a person: a line a network, those that would be trained marked."""
    rows = facts["members"]
    lines = [
        f"{counted(len(rows), 'network')} {facts['constraint']} ({quantity(facts['flops'])} at "
        f"{facts['resolution']} pixels):",
        f"  {'alpha':>11}{'beta':>13}{'gamma':>13}{'pixels':>8}{'FLOPs':>9}{'times':>7}  blocks a "
        "stage, channels a stage",
    ]
    for row in rows:
        intervals = f"{span(*row['alpha']):>11}{span(*row['beta']):>13}{span(*row['gamma']):>13}"
        size = f"{row['resolution']:>8}{quantity(row['flops']):>9}{row['ratio']:>7.3f}"
        mark = "*" if row["trained"] else " "
        lines.append(f"{mark} {intervals}{size}  {joined(row['depths'])}, {joined(row['widths'])}")
    kept, spent, full = (
        sum(row["trained"] for row in rows),
        facts["epochs"],
        facts["full_grid_epochs"],
    )
    least = f" (the full grid: {full})" if spent < full else ""
    lines.append(
        f"* {kept} would race: at most {facts['trainings']} trainings, {spent} epochs{least}"
    )
    if facts["warning"]:
        lines.append(f"warning: {facts['warning']}")
    if facts["plan"]:
        lines.append(plan_as_text(facts["plan"]))
    return "\n".join(lines)


def published(config: Config) -> dict[str, Any]:
    """B1..B7 as published beside the rule, as plain data. Raises InputError for another baseline
    than EfficientNet-B0.
    """
    if config.scaling.baseline != "efficientnet_b0":
        raise InputError(
            "scale --published: only efficientnet_b0 has a published family; use --baseline "
            "efficientnet_b0"
        )
    rows = compare_published()
    return {
        "rows": [row.to_dict() for row in rows],
        "difference": difference(rows),
        "text": _published_as_text(rows),
    }


def _published_as_text(rows: list[Row]) -> str:
    lines = [
        "the rule (1.2, 1.1, 1.15) and the published family, and the phi that each published "
        "number implies",
        f"{'':4}{'phi':>5}   "
        f"{'depth':<22}{'width':<22}{'resolution':<22}{'dropout':<13}{'FLOPs':<23}",
    ]
    for row in rows:
        dims = "".join(f"{_dimension(each):<22}" for each in (row.depth, row.width))
        side = (
            f"{row.resolution.rule_sizes[0]} "
            f"{row.resolution.published_sizes[0]}{_implied(row.resolution.implied)}"
        )
        dropout = f"{row.rule_dropout:.2f} {row.published_dropout:.2f}"
        flops = (
            f"{quantity(row.flops.rule)} "
            f"{quantity(row.flops.published)}{_implied(row.flops.implied)}"
        )
        lines.append(
            f"{row.name:4}{row.phi:>5g}   {dims}{side:<22}{dropout:<13}{flops:<23}".rstrip()
        )
    return "\n".join(lines)


def _dimension(each: Dimension) -> str:
    return f"{each.rule:.2f} {each.published:.2f}{_implied(each.implied)}"


def _implied(phi: float | None) -> str:
    return "" if phi is None else f" (phi {phi:.2f})"
