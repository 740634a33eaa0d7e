"""`phinas describe`: what a network is made of and what it costs, stage by stage."""

from typing import Any

from space.cost import cost, stage_costs
from space.search_space import load_spec


def describe(name_or_path: str, *, verify: bool = False) -> dict[str, Any]:
    """The stage table and exact cost of a preset or a spec file, as plain data.

    verify: count the built network with fvcore too (`fvcore_flops`, `agrees`); needs torch and takes seconds.
    """
    spec = load_spec(name_or_path)
    total = cost(spec)
    rows = []
    for row in stage_costs(spec):
        facts: dict[str, Any] = {"stage": row.name, "side": row.side, "width": row.width}
        if row.name.isdigit():
            stage = spec.stages[int(row.name) - 1]
            for field in ("depth", "kernel", "stride", "expansion", "se", "skip"):
                facts[field] = getattr(stage, field)
        rows.append(facts | {"flops": row.cost.flops, "params": row.cost.params, "activations": row.cost.activations})
    facts = {
        "name": name_or_path,
        "spec_id": spec.spec_id,
        "resolution": spec.resolution,
        "classes": spec.classes,
        "flops": total.flops,
        "params": total.params,
        "activations": total.activations,
        "stages": rows,
    }
    if verify:
        from space.blocks import conv_linear_flops

        counted = conv_linear_flops(spec)
        facts |= {"fvcore_flops": counted, "agrees": counted == total.flops}
    return facts


def as_text(facts: dict[str, Any]) -> str:
    """The description as a table for a person."""
    columns = dict.fromkeys(("stage", "side", "width", "depth", "kernel", "stride", "expansion", "se"), 10)
    columns |= dict.fromkeys(("flops", "params", "activations"), 16)
    lines = ["".join(f"{name:>{width}}" for name, width in columns.items())]
    lines += ["".join(f"{_cell(row.get(name, '')):>{width}}" for name, width in columns.items()) for row in facts["stages"]]
    lines.append(
        f"{facts['name']} ({facts['spec_id']}), {facts['resolution']} px, {facts['classes']} classes: "
        f"{facts['flops']:,} FLOPs (multiply-adds), {facts['params']:,} parameters, {facts['activations']:,} activations"
    )
    if "agrees" in facts:
        verdict = "equal" if facts["agrees"] else "DIFFERENT: please report it"
        lines.append(f"fvcore counts {facts['fvcore_flops']:,} in convolutions and linear layers: {verdict}")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value}"
