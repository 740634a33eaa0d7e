"""`phinas describe`: what a network is made of and what it costs, stage by stage."""

from pathlib import Path
from typing import Any

from phinas.api.compare_networks import compared
from phinas.api.network_text import COUNTS
from phinas.space.cost import cost, stage_costs
from phinas.space.layers import lower_stem
from phinas.space.loading import load_spec
from phinas.space.presets import PUBLISHED
from phinas.space.spec import BLOCKS, ArchSpec, StageSpec

_STAGE_FIELDS = ("depth", "kernel", "stride", "expansion", "se", "skip")


def describe(
    name_or_path: str,
    *,
    compare: str | None = None,
    verify: bool = False,
    conventions: bool = False,
    draw: str | Path | None = None,
) -> dict[str, Any]:
    """The stage table and exact cost of a network (named as for `load_spec`), as plain data.

    compare: another one; the result then holds both (`networks`), the second over the first
    (`ratios`), and which stages stand beside each other (`pairs`). verify: count the built networks
    with fvcore too (`fvcore_flops`, `agrees`); needs torch and takes seconds. conventions: what
    other tools count. draw: a file, .svg or .png, for the block layout.
    """
    names = [name_or_path] if compare is None else [name_or_path, compare]
    specs = [load_spec(name) for name in names]
    drawing: dict[str, Any] = {}
    if draw is not None:
        from phinas.api.draw import write_drawing

        drawing = {"drawing": str(write_drawing(list(zip(names, specs, strict=True)), Path(draw)))}
    described = [_facts(name, spec) for name, spec in zip(names, specs, strict=True)]
    for facts, spec in zip(described, specs, strict=True):
        if conventions:
            facts["conventions"] = _conventions(spec)
        if verify:
            from phinas.space.blocks import conv_linear_flops

            counted = conv_linear_flops(spec)
            facts |= {"fvcore_flops": counted, "agrees": counted == facts["flops"]}
    if compare is None:
        return described[0] | drawing
    return compared(*described) | drawing


def _facts(name: str, spec: ArchSpec) -> dict[str, Any]:
    total = cost(spec)
    facts: dict[str, Any] = {"name": name, "spec_id": spec.spec_id}
    if name in PUBLISHED:
        printed = PUBLISHED[name]
        facts["published"] = {
            field: getattr(printed, field) for field in ("source", "params", "flops", "remark")
        }
    for field in ("resolution", "channels", "classes", "activation", "padding", "depth"):
        facts[field] = getattr(spec, field)
    facts |= {field: getattr(total, field) for field in COUNTS} | {
        "inference_bytes": total.inference_bytes()
    }
    stages = []
    for row in stage_costs(spec):
        stage = {"stage": row.name, "side": row.side, "width": row.width} | _made_of(spec, row.name)
        stages.append(stage | {field: getattr(row.cost, field) for field in COUNTS})
    return facts | {"stages": stages}


def _made_of(spec: ArchSpec, row: str) -> dict[str, Any]:
    """The fields of one row, as far as they mean something there."""
    if row == "stem":
        stem = lower_stem(spec)
        found = {
            "block": "conv",
            "kernel": stem.kernel,
            "stride": stem.stride,
            "activation": stem.activation,
        }
        return found | {"pool": spec.stem_pool}
    if row == "head":
        if not spec.head_width:
            return {"block": "classifier", "head_width": 0}
        return {
            "block": "conv",
            "kernel": 1,
            "stride": 1,
            "activation": spec.activation,
            "head_width": spec.head_width,
        }
    stage: StageSpec = spec.stages[int(row) - 1]
    fields = {
        field: getattr(stage, field) for field in _STAGE_FIELDS if field not in BLOCKS[stage.block]
    }
    if stage.block == "identity":
        return {"block": stage.block}
    return {"block": stage.block} | fields | {"activation": stage.activation or spec.activation}


def _conventions(spec: ArchSpec) -> list[dict[str, Any]]:
    from phinas.space.flop_conventions import CONVENTIONS, FORMS, counts

    ours = cost(spec).flops
    written = {form: counts(spec, form) for form in FORMS}
    return [
        {
            "name": name,
            "tool": CONVENTIONS[name].tool,
            "count": count,
            "ratio": count / ours,
            "why": CONVENTIONS[name].why,
            "forms": {form: found[name] for form, found in written.items()},
        }
        for name, count in written["phinas"].items()
    ]
