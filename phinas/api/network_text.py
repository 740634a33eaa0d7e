"""The description of a network for a person: its stage table, costs, and other tools' counts."""

import textwrap
from typing import Any

WIDTH = 128
COUNTS = {
    "flops": "FLOPs",
    "params": "parameters",
    "activations": "activations",
    "peak_activations": "peak",
}
_COLUMNS = ("stage", "block", "side", "width", "depth", "kernel", "stride", "expand", "se")


def as_text(facts: dict[str, Any]) -> str:
    """The description of one network for a person."""
    lines = [*heading(facts), "", *_stage_table(facts), *_memory(facts), *closing(facts)]
    return "\n".join(lines)


def heading(facts: dict[str, Any]) -> list[str]:
    """What it is and who published it."""
    same = ", padded as TensorFlow does" if facts["padding"] == "same" else ""
    side = f"{facts['resolution']} x {facts['resolution']} x {facts['channels']}"
    blocks = f"{facts['depth']} block{'s' * (facts['depth'] != 1)}"
    lines = [
        f"{facts['name']} ({facts['spec_id']}): {side}, {facts['classes']:,} classes, {blocks}, "
        f"{facts['activation']}{same}"
    ]
    published = facts.get("published")
    if published:
        remark = f"; {published['remark']}" if published["remark"] else ""
        text = (
            f"{published['source']}: {published['params']} parameters, "
            f"{published['flops']} FLOPs as printed{remark}"
        )
        lines += textwrap.wrap(
            text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
    return lines


def _stage_table(facts: dict[str, Any]) -> list[str]:
    table = [(*_COLUMNS, *COUNTS.values()), *(_cells(row, facts) for row in facts["stages"])]
    table.append(
        (
            "all",
            "",
            "",
            "",
            f"{facts['depth']:,}",
            *[""] * 4,
            *(f"{facts[field]:,}" for field in COUNTS),
        )
    )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "".join(_aligned(place, cell, widths[place]) for place, cell in enumerate(row)).rstrip()
        for row in table
    ]


def _aligned(place: int, cell: str, width: int) -> str:
    """Words to the left; numbers to the right, those of sizes close together."""
    if place < 2:
        return f"{cell:<{width}} "
    return f"{cell:>{width + (2 if place >= len(_COLUMNS) else 1)}}"


def _cells(row: dict[str, Any], facts: dict[str, Any]) -> tuple[str, ...]:
    counts = (f"{row[field]:,}" for field in COUNTS)
    if row["block"] == "identity":
        return (row["stage"], "identity (left out)", *[""] * 7, *counts)
    fields = (
        f"{row['side']:,}",
        f"{row['width']:,}",
        *(f"{row.get(field, '')}" for field in ("depth", "kernel", "stride")),
    )
    return (
        row["stage"],
        block_words(row, facts),
        *fields,
        expansion_word(row),
        f"{row.get('se', ''):}",
        *counts,
    )


def block_words(row: dict[str, Any], facts: dict[str, Any]) -> str:
    """The kind of block, and what in it is unlike the rest of the network."""
    words = [row["block"]]
    if row["stage"] == "head" and row["head_width"]:
        words = [f"conv {row['head_width']}", "classifier"]
    if row.get("pool"):
        words.append("3x3 max pooling")
    if row.get("activation", facts["activation"]) != facts["activation"]:
        words.append(row["activation"])
    if row.get("skip") is False:
        words.append("no shortcut")
    return ", ".join(words)


def expansion_word(row: dict[str, Any]) -> str:
    """Hidden width over input width; in a bottleneck over output width."""
    if "expansion" not in row:
        return ""
    return f"1/{row['expansion']:g}" if row["block"] == "bottleneck" else f"{row['expansion']:g}"


def _memory(facts: dict[str, Any]) -> list[str]:
    whole = facts["inference_bytes"]
    return [
        "FLOPs: multiply-adds per image. peak: elements held at one time in inference, batch "
        "norms folded; with the parameters",
        f"{whole / 1e6:,.2f} MB at least in float32, {whole / 2e6:,.2f} MB in float16.",
    ]


def closing(facts: dict[str, Any]) -> list[str]:
    """Other tools' counts and fvcore's verdict, as far as they were asked for."""
    lines = []
    if "conventions" in facts:
        lines += [
            "",
            f"{'other tools on ' + facts['name'][-25:]:<40}  {'count':>17}  {'ratio':>6}  how it "
            "differs",
        ]
        for row in facts["conventions"]:
            start = f"{row['tool']:<40}  {row['count']:>17,}  {row['ratio']:>6.3f}  "
            lines += textwrap.wrap(
                row["why"], WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
            )
        lines += _other_forms(facts["conventions"])
    if "agrees" in facts:
        verdict = "equal" if facts["agrees"] else "DIFFERENT: please report it"
        lines.append(
            f"fvcore counts {facts['fvcore_flops']:,} in convolutions and linear layers: {verdict}"
        )
    return lines


def _other_forms(rows: list[dict[str, Any]]) -> list[str]:
    """The counts that are others where the same network is written as another library writes it."""
    from phinas.space.flop_conventions import FORMS

    lines = []
    for name, form in FORMS.items():
        differing = [
            f"{row['name']} {row['forms'][name]:,}"
            for row in rows
            if row["forms"][name] != row["count"]
        ]
        if differing:
            text = f"written as in {form.where}: {', '.join(differing)}"
            lines += textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return lines
