"""Two described networks beside each other: how many times the second costs the first, and where
their stages differ.

Stages stand beside each other where they work at the same reduction (input side over output side),
in order.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from phinas.api.network_text import WIDTH, block_words, closing, expansion_word, heading
from phinas.reports.formatting import quantity

_RATIOS = {
    "flops": "FLOPs (multiply-adds)",
    "params": "parameters",
    "activations": "activations",
    "peak_activations": "peak activations",
    "inference_bytes": "bytes for inference (float32)",
    "depth": "blocks",
    "resolution": "resolution",
}
_TOLD = (
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
_HALF = (WIDTH - 3) // 2
Row = dict[str, Any]


def compared(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both descriptions, the ratios second over first, and the pairs of stages with the fields in
    which they differ.
    """
    pairs = [
        {"stages": [row and row["stage"] for row in pair], "differ": _differing(*pair)}
        for pair in _paired(first, second)
    ]
    ratios = {name: second[name] / first[name] for name in _RATIOS}
    return {
        "networks": [first, second],
        "ratios": ratios,
        "same": first["spec_id"] == second["spec_id"],
        "pairs": pairs,
    }


def _paired(
    first: dict[str, Any], second: dict[str, Any]
) -> Iterator[tuple[Row | None, Row | None]]:
    sides = (_by_reduction(first), _by_reduction(second))
    for place in sorted({*sides[0], *sides[1]}):
        yield from zip_longest(sides[0].get(place, []), sides[1].get(place, []))


def _by_reduction(facts: dict[str, Any]) -> dict[float, list[Row]]:
    """Rows by the product of the strides down to them; the stem comes before all, the head
    after.
    """
    found: dict[float, list[Row]] = {}
    reduction = 1
    for row in facts["stages"]:
        reduction *= row.get("stride", 1) * (1 + row.get("pool", False))
        place = {"stem": 0.0, "head": float("inf")}.get(row["stage"], float(reduction))
        found.setdefault(place, []).append(row)
    return found


def _differing(left: Row | None, right: Row | None) -> list[str]:
    if left is None or right is None:
        return ["stage"]
    return [field for field in _TOLD if left.get(field) != right.get(field)]


def as_text(facts: dict[str, Any]) -> str:
    """Both networks side by side for a person."""
    first, second = facts["networks"]
    names = [_shortened(network["name"]) for network in facts["networks"]]
    lines = [
        *heading(first),
        *heading(second),
        "",
        f"{'':<30}{names[0]:>38}{names[1]:>38}{'ratio':>10}",
    ]
    for field, words in _RATIOS.items():
        lines.append(
            f"{words:<30}{first[field]:>38,}{second[field]:>38,}{facts['ratios'][field]:>10.3f}"
        )
    if facts["same"]:
        lines.append("The same network: what differs costs nothing and computes nothing.")
    lines += ["", f"{_line_of_names(names[0])}   {_line_of_names(names[1])}".rstrip()]
    for left, right in _paired(first, second):
        mark = (
            "<"
            if right is None
            else ">"
            if left is None
            else "|"
            if _differing(left, right)
            else " "
        )
        lines.append(f"{_half(left, first)} {mark} {_half(right, second)}".rstrip())
    lines.append(
        "side by side at equal reduction: | differs, < and > only there; /2 stride, e expansion, "
        "@ side of the output"
    )
    return "\n".join([*lines, *closing(first), *closing(second)])


def _shortened(name: str) -> str:
    return name if len(name) <= 36 else "..." + name[-33:]


def _line_of_names(name: str) -> str:
    return f"{name:<{_HALF - 8}}{'FLOPs':>8}"


def _half(row: Row | None, facts: dict[str, Any]) -> str:
    """One row in half a line."""
    if row is None:
        return " " * _HALF
    words = "identity (left out)" if row["block"] == "identity" else _words(row, facts)
    room = _HALF - 5 - 8
    return f"{row['stage']:<5}{words if len(words) <= room else words[: room - 3] + '...':<{room}}{quantity(row['flops']):>8}"


def _words(row: Row, facts: dict[str, Any]) -> str:
    parts = [f"{row['depth']} x" if "depth" in row else "", block_words(row, facts)]
    if row["stage"] != "head":
        parts += [
            f"{row['kernel']}x{row['kernel']}",
            f"/{row['stride']}" if row["stride"] != 1 else "",
        ]
    parts += [
        f"e{expansion_word(row)}" if "expansion" in row else "",
        f"se{row['se']:g}" if row.get("se") else "",
    ]
    parts += [f"-> {row['width']}", f"@{row['side']}" if row["stage"] != "head" else ""]
    return " ".join(part for part in parts if part)
