"""Comparison of two described networks: ratios of their cost, and the stages that differ.

Stages are paired, in order, where they have the same reduction (input over output resolution).
"""

import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from math import inf
from pathlib import Path

from phinas.description.describe_text import (
    IDENTITY_TEXT,
    block_text,
    expansion_text,
    footer,
    header,
)
from phinas.description.network_description import (
    CostComparison,
    NetworkDescription,
    StageDescription,
    StagePair,
    cost_to_dict,
)
from phinas.reports.formatting import format_count
from phinas.terminal.text_table import DEFAULT_WIDTH, Column, format_table

_RATIO_TITLES = {
    "flops": "FLOPs (multiply-adds)",
    "params": "parameters",
    "activations": "activations",
    "peak_activations": "peak activations",
    "inference_bytes": "bytes for inference (float32)",
    "depth": "blocks",
    "resolution": "resolution",
}
_COMPARED_FIELDS = (
    "block",
    "depth",
    "kernel",
    "stride",
    "expansion",
    "se",
    "skip",
    "activation",
    "width",
    "pool",
    "head_width",
)
_MAX_NAME_WIDTH = 36


def compare_networks(
    first: NetworkDescription, second: NetworkDescription, *, drawing: Path | None = None
) -> CostComparison:
    """Compare two networks, the second with the first.

    Args:
        first: The network that ratios refer to.
        second: The other network.
        drawing: The file of both block layouts, if there is one.
    """
    counts = [_compared_counts(network) for network in (first, second)]
    return CostComparison(
        networks=(first, second),
        ratios={name: counts[1][name] / counts[0][name] for name in _RATIO_TITLES},
        pairs=tuple(
            StagePair(pair, _differing_fields(*pair)) for pair in _pair_stages(first, second)
        ),
        drawing=drawing,
    )


def _compared_counts(network: NetworkDescription) -> dict[str, int]:
    return cost_to_dict(network.cost) | {
        "inference_bytes": network.inference_bytes,
        "depth": network.depth,
        "resolution": network.resolution,
    }


def _pair_stages(
    first: NetworkDescription, second: NetworkDescription
) -> Iterator[tuple[StageDescription | None, StageDescription | None]]:
    stages = (_stages_by_reduction(first), _stages_by_reduction(second))
    for key in sorted({*stages[0], *stages[1]}):
        yield from zip_longest(stages[0].get(key, []), stages[1].get(key, []))


def _stages_by_reduction(network: NetworkDescription) -> dict[float, list[StageDescription]]:
    """Stages by the product of all strides so far; the stem comes first, the head last."""
    stages: dict[float, list[StageDescription]] = {}
    reduction = 1
    for stage in network.stages:
        reduction *= (stage.stride or 1) * (2 if stage.pool else 1)
        key = {"stem": 0.0, "head": inf}.get(stage.stage, float(reduction))
        stages.setdefault(key, []).append(stage)
    return stages


def _differing_fields(
    left: StageDescription | None, right: StageDescription | None
) -> tuple[str, ...]:
    if left is None or right is None:
        return ("stage",)
    return tuple(
        field for field in _COMPARED_FIELDS if getattr(left, field) != getattr(right, field)
    )


def as_text(comparison: CostComparison, *, width: int | None = None) -> str:
    """Both networks side by side.

    Args:
        width: Characters of a line; None: 128.
    """
    width = width or DEFAULT_WIDTH
    first, second = comparison.networks
    lines = [*header(first, width=width), *header(second, width=width), ""]
    lines += _ratio_table(comparison, width=width)
    if comparison.same:
        lines.append("Both compute the same function at the same cost.")
    lines += ["", *_pair_table(comparison, width=width)]
    lines += textwrap.wrap(
        "side by side at equal reduction: | differs, < and > in one network only; /2 stride, e "
        "expansion, @ output resolution",
        width,
    )
    return "\n".join([*lines, *footer(first, width=width), *footer(second, width=width)])


def _ratio_table(comparison: CostComparison, *, width: int) -> list[str]:
    first, second = comparison.networks
    counts = [_compared_counts(network) for network in comparison.networks]
    columns = [
        Column("", "left"),
        Column(_shorten_name(first.name)),
        Column(_shorten_name(second.name)),
        Column("ratio"),
    ]
    rows = [
        [title, *(f"{row[name]:,}" for row in counts), f"{comparison.ratios[name]:.3f}"]
        for name, title in _RATIO_TITLES.items()
    ]
    return format_table(columns, rows, width=width)


def _pair_table(comparison: CostComparison, *, width: int) -> list[str]:
    first, second = comparison.networks
    columns = []
    for network in comparison.networks:
        columns += [
            Column("stage", "left"),
            Column(_shorten_name(network.name), "left", wrap=True),
            Column("FLOPs"),
        ]
    columns.insert(3, Column("", "left"))
    rows = []
    for pair in comparison.pairs:
        left, right = pair.stages
        rows.append([*_stage_cells(left, first), _pair_mark(pair), *_stage_cells(right, second)])
    return format_table(columns, rows, width=width)


def _pair_mark(pair: StagePair) -> str:
    left, right = pair.stages
    if right is None:
        return "<"
    if left is None:
        return ">"
    return "|" if pair.differing_fields else ""


def _shorten_name(name: str) -> str:
    return name if len(name) <= _MAX_NAME_WIDTH else "..." + name[3 - _MAX_NAME_WIDTH :]


def _stage_cells(stage: StageDescription | None, network: NetworkDescription) -> list[str]:
    """Name, description and FLOPs of one stage."""
    if stage is None:
        return ["", "", ""]
    text = IDENTITY_TEXT if stage.block == "identity" else _stage_text(stage, network)
    return [stage.stage, text, format_count(stage.cost.flops)]


def _stage_text(stage: StageDescription, network: NetworkDescription) -> str:
    has_kernel = stage.stage != "head"
    parts = [
        "" if stage.depth is None else f"{stage.depth} x",
        block_text(stage, network),
        f"{stage.kernel}x{stage.kernel}" if has_kernel else "",
        f"/{stage.stride}" if has_kernel and stage.stride != 1 else "",
        "" if stage.expansion is None else f"e{expansion_text(stage)}",
        f"se{stage.se:g}" if stage.se else "",
        f"-> {stage.width}",
        f"@{stage.resolution}" if has_kernel else "",
    ]
    return " ".join(part for part in parts if part)
