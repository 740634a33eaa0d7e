"""Comparison of two described networks: the cost of the second over the first, and the stages that
differ.

Stages are paired, in order, where they have the same reduction (input over output resolution).
"""

import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from phinas.api.describe_text import block_text, expansion_text, footer, header
from phinas.reports.formatting import format_count
from phinas.terminal.text_table import DEFAULT_WIDTH, Column, format_table

_RATIO_FIELDS = {
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
Stage = dict[str, Any]


def compare_networks(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both descriptions, the ratios second over first, and the pairs of stages with the fields in
    which they differ.
    """
    pairs = [
        {
            "stages": [stage and stage["stage"] for stage in pair],
            "differing_fields": _differing_fields(*pair),
        }
        for pair in _pair_stages(first, second)
    ]
    ratios = {name: second[name] / first[name] for name in _RATIO_FIELDS}
    return {
        "networks": [first, second],
        "ratios": ratios,
        "same": first["spec_id"] == second["spec_id"],
        "pairs": pairs,
    }


def _pair_stages(
    first: dict[str, Any], second: dict[str, Any]
) -> Iterator[tuple[Stage | None, Stage | None]]:
    stages = (_stages_by_reduction(first), _stages_by_reduction(second))
    for key in sorted({*stages[0], *stages[1]}):
        yield from zip_longest(stages[0].get(key, []), stages[1].get(key, []))


def _stages_by_reduction(network: dict[str, Any]) -> dict[float, list[Stage]]:
    """Stages by the product of all strides so far; the stem comes first, the head last."""
    stages: dict[float, list[Stage]] = {}
    reduction = 1
    for stage in network["stages"]:
        reduction *= stage.get("stride", 1) * (1 + stage.get("pool", False))
        key = {"stem": 0.0, "head": float("inf")}.get(stage["stage"], float(reduction))
        stages.setdefault(key, []).append(stage)
    return stages


def _differing_fields(left: Stage | None, right: Stage | None) -> list[str]:
    if left is None or right is None:
        return ["stage"]
    return [field for field in _COMPARED_FIELDS if left.get(field) != right.get(field)]


def as_text(comparison: dict[str, Any], *, width: int | None = None) -> str:
    """Both networks side by side in lines of `width` characters (None: 128)."""
    width = width or DEFAULT_WIDTH
    first, second = comparison["networks"]
    lines = [*header(first, width=width), *header(second, width=width), ""]
    lines += _ratio_table(comparison, width=width)
    if comparison["same"]:
        lines.append("The same network: what differs costs nothing and computes nothing.")
    lines += ["", *_pair_table(first, second, width=width)]
    lines += textwrap.wrap(
        "side by side at equal reduction: | differs, < and > only there; /2 stride, e expansion, "
        "@ output resolution",
        width,
    )
    return "\n".join([*lines, *footer(first, width=width), *footer(second, width=width)])


def _ratio_table(comparison: dict[str, Any], *, width: int) -> list[str]:
    first, second = comparison["networks"]
    columns = [
        Column("", "left"),
        Column(_shorten_name(first["name"])),
        Column(_shorten_name(second["name"])),
        Column("ratio"),
    ]
    rows = [
        [label, f"{first[field]:,}", f"{second[field]:,}", f"{comparison['ratios'][field]:.3f}"]
        for field, label in _RATIO_FIELDS.items()
    ]
    return format_table(columns, rows, width=width)


def _pair_table(first: dict[str, Any], second: dict[str, Any], *, width: int) -> list[str]:
    columns = []
    for network in (first, second):
        columns += [
            Column("stage", "left"),
            Column(_shorten_name(network["name"]), "left", wrap=True),
            Column("FLOPs"),
        ]
    columns.insert(3, Column("", "left"))
    rows = [
        [*_stage_cells(left, first), _pair_mark(left, right), *_stage_cells(right, second)]
        for left, right in _pair_stages(first, second)
    ]
    return format_table(columns, rows, width=width)


def _pair_mark(left: Stage | None, right: Stage | None) -> str:
    if right is None:
        return "<"
    if left is None:
        return ">"
    return "|" if _differing_fields(left, right) else ""


def _shorten_name(name: str) -> str:
    return name if len(name) <= _MAX_NAME_WIDTH else "..." + name[3 - _MAX_NAME_WIDTH :]


def _stage_cells(stage: Stage | None, network: dict[str, Any]) -> list[str]:
    """Name, description and FLOPs of one stage."""
    if stage is None:
        return ["", "", ""]
    is_identity = stage["block"] == "identity"
    text = "identity (left out)" if is_identity else _stage_text(stage, network)
    return [stage["stage"], text, format_count(stage["flops"])]


def _stage_text(stage: Stage, network: dict[str, Any]) -> str:
    parts = [f"{stage['depth']} x" if "depth" in stage else "", block_text(stage, network)]
    if stage["stage"] != "head":
        parts += [
            f"{stage['kernel']}x{stage['kernel']}",
            f"/{stage['stride']}" if stage["stride"] != 1 else "",
        ]
    parts += [
        f"e{expansion_text(stage)}" if "expansion" in stage else "",
        f"se{stage['se']:g}" if stage.get("se") else "",
    ]
    parts += [f"-> {stage['width']}", f"@{stage['resolution']}" if stage["stage"] != "head" else ""]
    return " ".join(part for part in parts if part)
