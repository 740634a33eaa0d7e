"""The description of a network as text: its stage table, its cost, and other tools' counts."""

import textwrap
from collections.abc import Sequence

from phinas.description.network_description import (
    COST_TITLES,
    ConventionCount,
    NetworkDescription,
    StageDescription,
    cost_to_dict,
)
from phinas.space.block_kinds import BLOCK_KINDS
from phinas.terminal.text_table import DEFAULT_WIDTH, Column, format_table

_LAYOUT_COLUMNS = ("px", "width", "depth", "kernel", "stride", "expand", "se")
IDENTITY_TEXT = "identity (left out)"
_MAX_TITLE = 25  # characters of a network's name in the title of a column


def as_text(network: NetworkDescription, *, width: int | None = None) -> str:
    """The description of one network.

    Args:
        width: Characters of a line; None: 128.
    """
    width = width or DEFAULT_WIDTH
    lines = [
        *header(network, width=width),
        "",
        *_stage_table(network, width=width),
        *_memory(network, width=width),
        *footer(network, width=width),
    ]
    return "\n".join(lines)


def header(network: NetworkDescription, *, width: int) -> list[str]:
    """Name, input and size of a network, and who published it."""
    padding = ", padded as in TensorFlow" if network.padding == "same" else ""
    shape = f"{network.resolution} x {network.resolution} x {network.channels}"
    blocks = f"{network.depth} block{'s' * (network.depth != 1)}"
    lines = [
        f"{network.name} ({network.network_id}): {shape}, {network.classes:,} classes, {blocks}, "
        f"{network.activation}{padding}"
    ]
    published = network.published
    if published is not None:
        note = f"; {published.note}" if published.note else ""
        text = (
            f"{published.source}: {published.params} parameters, {published.flops} FLOPs as "
            f"printed{note}"
        )
        lines += textwrap.wrap(
            text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
    return lines


def _stage_table(network: NetworkDescription, *, width: int) -> list[str]:
    columns = [
        Column("stage", "left"),
        Column("block", "left", wrap=True),
        *(Column(title) for title in (*_LAYOUT_COLUMNS, *COST_TITLES.values())),
    ]
    totals = ["all", "", "", "", f"{network.depth:,}", *[""] * 4]
    totals += [f"{count:,}" for count in cost_to_dict(network.cost).values()]
    rows = [*(_stage_cells(stage, network) for stage in network.stages), totals]
    return format_table(columns, rows, width=width)


def _stage_cells(stage: StageDescription, network: NetworkDescription) -> list[str]:
    counts = [f"{count:,}" for count in cost_to_dict(stage.cost).values()]
    if stage.block == "identity":
        return [stage.stage, IDENTITY_TEXT, *[""] * 7, *counts]
    return [
        stage.stage,
        block_text(stage, network),
        f"{stage.resolution:,}",
        f"{stage.width:,}",
        *map(_optional_text, (stage.depth, stage.kernel, stage.stride)),
        expansion_text(stage),
        _optional_text(stage.se),
        *counts,
    ]


def _optional_text(value: float | None) -> str:
    return "" if value is None else f"{value}"


def block_text(stage: StageDescription, network: NetworkDescription) -> str:
    """The kind of block, and what in it differs from the rest of the network."""
    is_head = stage.stage == "head" and stage.head_width
    parts = [f"conv {stage.head_width}", "classifier"] if is_head else [stage.block]
    if stage.pool:
        parts.append("3x3 max pooling")
    if stage.activation not in (None, network.activation):
        parts.append(f"{stage.activation}")
    if stage.skip is False:
        parts.append("no shortcut")
    return ", ".join(parts)


def expansion_text(stage: StageDescription) -> str:
    """The expansion, as 1/4 where it is output width over hidden width."""
    if stage.expansion is None:
        return ""
    return f"{BLOCK_KINDS[stage.block].expansion_prefix}{stage.expansion:g}"


def _memory(network: NetworkDescription, *, width: int) -> list[str]:
    memory = network.inference_bytes
    lines = textwrap.wrap(
        "FLOPs: multiply-adds per image. peak: maximum number of activations in memory during "
        "inference, with folded batch norms. Parameters and peak take at least",
        width,
        break_on_hyphens=False,
    )
    lines.append(f"{memory / 1e6:,.2f} MB in float32, {memory / 2e6:,.2f} MB in float16.")
    return lines


def footer(network: NetworkDescription, *, width: int) -> list[str]:
    """Other tools' counts and the comparison with fvcore, where requested."""
    lines = []
    if network.conventions:
        columns = [
            Column(f"other tools on {network.name[-_MAX_TITLE:]}", "left"),
            Column("count"),
            Column("ratio"),
            Column("difference", "left", wrap=True),
        ]
        rows = [
            [row.tool, f"{row.count:,}", f"{row.ratio:.3f}", row.difference]
            for row in network.conventions
        ]
        lines += ["", *format_table(columns, rows, width=width)]
        lines += _other_implementations(network.conventions, width=width)
    if network.fvcore_flops is not None:
        verdict = "equal" if network.agrees else "DIFFERENT: please report it"
        lines.append(
            f"fvcore counts {network.fvcore_flops:,} in convolutions and linear layers: {verdict}"
        )
    return lines


def _other_implementations(rows: Sequence[ConventionCount], *, width: int) -> list[str]:
    """The counts that differ where the network is written as in another library."""
    from phinas.space.flop_conventions import IMPLEMENTATIONS

    lines = []
    for name, implementation in IMPLEMENTATIONS.items():
        differing = [
            f"{row.name} {row.implementations[name]:,}"
            for row in rows
            if row.implementations[name] != row.count
        ]
        if differing:
            text = f"written as in {implementation.description}: {', '.join(differing)}"
            lines += textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
    return lines
