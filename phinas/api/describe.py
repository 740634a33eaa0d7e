"""`phinas describe`: what a network is made of and what it costs, stage by stage."""

from pathlib import Path
from typing import Any

from phinas.api.compare_networks import compare_networks
from phinas.api.describe_text import COUNTS
from phinas.space.cost import network_cost, stage_costs
from phinas.space.layers import lower_stem
from phinas.space.loading import load_spec
from phinas.space.presets import PUBLISHED_NETWORKS
from phinas.space.spec import UNUSED_FIELDS, ArchSpec, StageSpec

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
        from phinas.api.network_drawing import write_drawing

        drawing = {"drawing": str(write_drawing(list(zip(names, specs, strict=True)), Path(draw)))}
    networks = [_describe_network(name, spec) for name, spec in zip(names, specs, strict=True)]
    for network, spec in zip(networks, specs, strict=True):
        if conventions:
            network["conventions"] = _conventions(spec)
        if verify:
            from phinas.space.blocks import conv_linear_flops

            fvcore_flops = conv_linear_flops(spec)
            network |= {"fvcore_flops": fvcore_flops, "agrees": fvcore_flops == network["flops"]}
    if compare is None:
        return networks[0] | drawing
    return compare_networks(*networks) | drawing


def _describe_network(name: str, spec: ArchSpec) -> dict[str, Any]:
    total_cost = network_cost(spec)
    network: dict[str, Any] = {"name": name, "spec_id": spec.spec_id}
    if name in PUBLISHED_NETWORKS:
        published = PUBLISHED_NETWORKS[name]
        network["published"] = {
            field: getattr(published, field) for field in ("source", "params", "flops", "note")
        }
    for field in ("resolution", "channels", "classes", "activation", "padding", "depth"):
        network[field] = getattr(spec, field)
    network |= {field: getattr(total_cost, field) for field in COUNTS} | {
        "inference_bytes": total_cost.inference_bytes()
    }
    stages = []
    for stage_cost in stage_costs(spec):
        stage = {
            "stage": stage_cost.name,
            "resolution": stage_cost.resolution,
            "width": stage_cost.width,
        } | _stage_fields(spec, stage_cost.name)
        stages.append(stage | {field: getattr(stage_cost.cost, field) for field in COUNTS})
    return network | {"stages": stages}


def _stage_fields(spec: ArchSpec, name: str) -> dict[str, Any]:
    """The fields of one row, as far as they mean something there."""
    if name == "stem":
        stem = lower_stem(spec)
        fields = {
            "block": "conv",
            "kernel": stem.kernel,
            "stride": stem.stride,
            "activation": stem.activation,
        }
        return fields | {"pool": spec.stem_pool}
    if name == "head":
        if not spec.head_width:
            return {"block": "classifier", "head_width": 0}
        return {
            "block": "conv",
            "kernel": 1,
            "stride": 1,
            "activation": spec.activation,
            "head_width": spec.head_width,
        }
    stage: StageSpec = spec.stages[int(name) - 1]
    fields = {
        field: getattr(stage, field)
        for field in _STAGE_FIELDS
        if field not in UNUSED_FIELDS[stage.block]
    }
    if stage.block == "identity":
        return {"block": stage.block}
    return {"block": stage.block} | fields | {"activation": stage.activation or spec.activation}


def _conventions(spec: ArchSpec) -> list[dict[str, Any]]:
    from phinas.space.flop_conventions import CONVENTIONS, IMPLEMENTATIONS, count_flops

    own_count = network_cost(spec).flops
    counts_by_implementation = {
        implementation: count_flops(spec, implementation) for implementation in IMPLEMENTATIONS
    }
    return [
        {
            "name": name,
            "tool": CONVENTIONS[name].tool,
            "count": count,
            "ratio": count / own_count,
            "difference": CONVENTIONS[name].difference,
            "implementations": {
                implementation: form_counts[name]
                for implementation, form_counts in counts_by_implementation.items()
            },
        }
        for name, count in counts_by_implementation["phinas"].items()
    ]
