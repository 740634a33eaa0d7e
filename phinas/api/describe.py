"""`phinas describe`: the stages of a network and its exact cost."""

from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from phinas.api.arguments import checked_arguments
from phinas.description.compare_networks import compare_networks
from phinas.description.network_description import (
    ConventionCount,
    CostComparison,
    NetworkDescription,
    StageDescription,
)
from phinas.network_source import load_network
from phinas.space.cost import StageCost, stage_costs
from phinas.space.layers import lower_stem
from phinas.space.presets import PUBLISHED_NETWORKS
from phinas.space.spec import ArchSpec
from phinas.space.stage_spec import unused_fields

_STAGE_FIELDS = ("depth", "kernel", "stride", "expansion", "se", "skip")


@overload
def describe(
    spec: str | Path,
    *,
    compare: None = None,
    verify: bool = False,
    conventions: bool = False,
    draw: str | Path | None = None,
) -> NetworkDescription: ...


@overload
def describe(
    spec: str | Path,
    *,
    compare: str | Path,
    verify: bool = False,
    conventions: bool = False,
    draw: str | Path | None = None,
) -> CostComparison: ...


@overload
def describe(
    spec: str | Path,
    *,
    compare: str | Path | None = None,
    verify: bool = False,
    conventions: bool = False,
    draw: str | Path | None = None,
) -> NetworkDescription | CostComparison: ...


@checked_arguments()
def describe(
    spec: str | Path,
    *,
    compare: str | Path | None = None,
    verify: bool = False,
    conventions: bool = False,
    draw: str | Path | None = None,
) -> NetworkDescription | CostComparison:
    """Describe the stages and the exact cost of a network, or compare two.

    Args:
        spec: A preset such as "efficientnet_b0", a spec file, "timm:NAME", "torchvision:NAME", or
            "RUN:NAME" for a network of a run, such as "runs/photos:b1".
        compare: Another network, named in any of the same ways.
        verify: Count the FLOPs of the built network with fvcore too, which needs seconds.
        conventions: Also list what other tools report as FLOPs.
        draw: A file, .svg or .png, for the block layout.

    Returns:
        The description of the network; with `compare` both descriptions, and the ratios of the
        second to the first. FLOPs are multiply-adds for one image.

    Raises:
        InputError: The drawing cannot be written.

    Examples:
        >>> phinas.describe("efficientnet_b0").cost.flops
        385814752
    """
    names = [str(name) for name in (spec, compare) if name is not None]
    fields = ("spec", "compare")
    networks = [
        (name, load_network(name, field=field)) for name, field in zip(names, fields, strict=False)
    ]
    drawing = None
    if draw is not None:
        from phinas.description.network_drawing import write_drawing

        drawing = write_drawing(networks, Path(draw))
    descriptions = [
        _describe_network(name, network, verify=verify, conventions=conventions)
        for name, network in networks
    ]
    if compare is None:
        return replace(descriptions[0], drawing=drawing)
    first, second = descriptions
    return compare_networks(first, second, drawing=drawing)


def _describe_network(
    name: str, spec: ArchSpec, *, verify: bool, conventions: bool
) -> NetworkDescription:
    return NetworkDescription(
        name=name,
        network_id=spec.network_id,
        published=PUBLISHED_NETWORKS.get(name),
        resolution=spec.resolution,
        channels=spec.channels,
        classes=spec.classes,
        activation=spec.activation,
        padding=spec.padding,
        depth=spec.depth,
        cost=spec.cost(),
        stages=tuple(_describe_stage(spec, row) for row in stage_costs(spec)),
        conventions=_count_by_convention(spec) if conventions else (),
        fvcore_flops=_count_with_fvcore(spec) if verify else None,
    )


def _describe_stage(spec: ArchSpec, row: StageCost) -> StageDescription:
    fields: dict[str, Any] = {"stem": _stem_fields, "head": _head_fields}.get(
        row.name, _stage_fields
    )(spec, row.name)
    return StageDescription(
        stage=row.name, resolution=row.resolution, width=row.width, cost=row.cost, **fields
    )


def _stem_fields(spec: ArchSpec, _name: str) -> dict[str, Any]:
    stem = lower_stem(spec)
    return {
        "block": "conv",
        "kernel": stem.kernel,
        "stride": stem.stride,
        "activation": stem.activation,
        "pool": spec.stem_pool,
    }


def _head_fields(spec: ArchSpec, _name: str) -> dict[str, Any]:
    if not spec.head_width:
        return {"block": "classifier", "head_width": 0}
    return {
        "block": "conv",
        "kernel": 1,
        "stride": 1,
        "activation": spec.activation,
        "head_width": spec.head_width,
    }


def _stage_fields(spec: ArchSpec, name: str) -> dict[str, Any]:
    """The fields that have an effect in the blocks of the stage."""
    stage = spec.stages[int(name) - 1]
    unused = unused_fields(stage.block)
    if stage.block == "identity":
        return {"block": stage.block}
    fields = {field: getattr(stage, field) for field in _STAGE_FIELDS if field not in unused}
    return {"block": stage.block, "activation": stage.activation or spec.activation} | fields


def _count_with_fvcore(spec: ArchSpec) -> int:
    from phinas.space.pytorch.conv_net import conv_linear_flops

    return conv_linear_flops(spec)


def _count_by_convention(spec: ArchSpec) -> tuple[ConventionCount, ...]:
    from phinas.space.flop_conventions import CONVENTIONS, IMPLEMENTATIONS, count_flops

    own_count = spec.cost().flops
    counts = {
        implementation: count_flops(spec, implementation) for implementation in IMPLEMENTATIONS
    }
    return tuple(
        ConventionCount(
            name=name,
            tool=CONVENTIONS[name].tool,
            count=count,
            ratio=count / own_count,
            difference=CONVENTIONS[name].difference,
            implementations={
                implementation: by_convention[name]
                for implementation, by_convention in counts.items()
            },
        )
        for name, count in counts["phinas"].items()
    )
