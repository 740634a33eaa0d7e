"""The description of a network as text: its stage table, costs, and other tools' counts."""

import textwrap
from typing import Any

from phinas.terminal.text_table import DEFAULT_WIDTH, Column, format_table

COUNTS = {
    "flops": "FLOPs",
    "params": "parameters",
    "activations": "activations",
    "peak_activations": "peak",
}
_LAYOUT_COLUMNS = ("px", "width", "depth", "kernel", "stride", "expand", "se")


def as_text(network: dict[str, Any], *, width: int | None = None) -> str:
    """The description of one network in lines of `width` characters (None: 128)."""
    width = width or DEFAULT_WIDTH
    lines = [
        *header(network, width=width),
        "",
        *_stage_table(network, width=width),
        *_memory(network, width=width),
        *footer(network, width=width),
    ]
    return "\n".join(lines)


def header(network: dict[str, Any], *, width: int) -> list[str]:
    """Name, input and size of a network, and who published it."""
    padding = ", padded as TensorFlow does" if network["padding"] == "same" else ""
    input_shape = f"{network['resolution']} x {network['resolution']} x {network['channels']}"
    blocks = f"{network['depth']} block{'s' * (network['depth'] != 1)}"
    lines = [
        f"{network['name']} ({network['spec_id']}): {input_shape}, {network['classes']:,} classes, "
        f"{blocks}, "
        f"{network['activation']}{padding}"
    ]
    published = network.get("published")
    if published:
        note = f"; {published['note']}" if published["note"] else ""
        text = (
            f"{published['source']}: {published['params']} parameters, "
            f"{published['flops']} FLOPs as printed{note}"
        )
        lines += textwrap.wrap(
            text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
    return lines


def _stage_table(network: dict[str, Any], *, width: int) -> list[str]:
    columns = [
        Column("stage", "left"),
        Column("block", "left", wrap=True),
        *(Column(title) for title in (*_LAYOUT_COLUMNS, *COUNTS.values())),
    ]
    totals = ["all", "", "", "", f"{network['depth']:,}", *[""] * 4]
    totals += [f"{network[field]:,}" for field in COUNTS]
    rows = [*(_stage_cells(stage, network) for stage in network["stages"]), totals]
    return format_table(columns, rows, width=width)


def _stage_cells(stage: dict[str, Any], network: dict[str, Any]) -> tuple[str, ...]:
    counts = (f"{stage[field]:,}" for field in COUNTS)
    if stage["block"] == "identity":
        return (stage["stage"], "identity (left out)", *[""] * 7, *counts)
    fields = (
        f"{stage['resolution']:,}",
        f"{stage['width']:,}",
        *(f"{stage.get(field, '')}" for field in ("depth", "kernel", "stride")),
    )
    return (
        stage["stage"],
        block_text(stage, network),
        *fields,
        expansion_text(stage),
        f"{stage.get('se', ''):}",
        *counts,
    )


def block_text(stage: dict[str, Any], network: dict[str, Any]) -> str:
    """The kind of block, and what in it differs from the rest of the network."""
    parts = [stage["block"]]
    if stage["stage"] == "head" and stage["head_width"]:
        parts = [f"conv {stage['head_width']}", "classifier"]
    if stage.get("pool"):
        parts.append("3x3 max pooling")
    if stage.get("activation", network["activation"]) != network["activation"]:
        parts.append(stage["activation"])
    if stage.get("skip") is False:
        parts.append("no shortcut")
    return ", ".join(parts)


def expansion_text(stage: dict[str, Any]) -> str:
    """Hidden width over input width; in a bottleneck over output width."""
    if "expansion" not in stage:
        return ""
    return (
        f"1/{stage['expansion']:g}" if stage["block"] == "bottleneck" else f"{stage['expansion']:g}"
    )


def _memory(network: dict[str, Any], *, width: int) -> list[str]:
    memory = network["inference_bytes"]
    lines = textwrap.wrap(
        "FLOPs: multiply-adds per image. peak: elements held at one time in inference, batch norms "
        "folded; with the parameters",
        width,
        break_on_hyphens=False,
    )
    lines.append(f"{memory / 1e6:,.2f} MB at least in float32, {memory / 2e6:,.2f} MB in float16.")
    return lines


def footer(network: dict[str, Any], *, width: int) -> list[str]:
    """Other tools' counts and the comparison with fvcore, where requested."""
    lines = []
    if "conventions" in network:
        columns = [
            Column(f"other tools on {network['name'][-25:]}", "left"),
            Column("count"),
            Column("ratio"),
            Column("how it differs", "left", wrap=True),
        ]
        rows = [
            [row["tool"], f"{row['count']:,}", f"{row['ratio']:.3f}", row["difference"]]
            for row in network["conventions"]
        ]
        lines += ["", *format_table(columns, rows, width=width)]
        lines += _other_implementations(network["conventions"], width=width)
    if "agrees" in network:
        verdict = "equal" if network["agrees"] else "DIFFERENT: please report it"
        lines.append(
            f"fvcore counts {network['fvcore_flops']:,} in convolutions and linear layers: "
            f"{verdict}"
        )
    return lines


def _other_implementations(rows: list[dict[str, Any]], *, width: int) -> list[str]:
    """The counts that differ where the network is written as in another library."""
    from phinas.space.flop_conventions import IMPLEMENTATIONS

    lines = []
    for name, implementation in IMPLEMENTATIONS.items():
        differing = [
            f"{row['name']} {row['implementations'][name]:,}"
            for row in rows
            if row["implementations"][name] != row["count"]
        ]
        if differing:
            text = f"written as in {implementation.description}: {', '.join(differing)}"
            lines += textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
    return lines
