"""What the classes of other tools ask of a spec, in the words that all of them share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phinas.space.layers import Block, lower
from phinas.space.spec import ArchSpec, SpecError, StageSpec


@dataclass(frozen=True, slots=True)
class Constructor:
    """naming: a key of state_dict_maps.STATE_DICT_NAMINGS. arguments: plain data. lines: Python
    that makes `model`.
    """

    naming: str
    arguments: dict[str, Any]
    lines: tuple[str, ...]


IMPORTS = ("from functools import partial", "from torch.nn import BatchNorm2d")


def norm_layer(spec: ArchSpec) -> str:
    """The batch norm of `spec` as an argument (needs IMPORTS)."""
    return f"norm_layer=partial(BatchNorm2d, eps={spec.bn_eps!r}, momentum={spec.bn_momentum!r})"


def format_arguments(arguments: Mapping[str, Any]) -> str:
    """Keyword arguments as Python."""
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def as_int_if_whole(value: float) -> float:
    """6 for 6.0: other tools repeat and multiply by it."""
    return int(value) if float(value).is_integer() else value


def require_fields(spec: ArchSpec, required: Mapping[str, object]) -> None:
    """Raise SpecError where a field of `spec` is another than the class has."""
    for name, value in required.items():
        if getattr(spec, name) != value:
            raise SpecError(f"{name}: {getattr(spec, name)!r}, and it has {value!r}")


def require(condition: object, number: int, message: str) -> None:
    """Raise SpecError about that stage, counted from 1, unless `condition`."""
    if not condition:
        raise SpecError(f"stage {number}: {message}")


def iter_stages(spec: ArchSpec) -> Iterator[tuple[int, StageSpec, tuple[Block, ...]]]:
    """Number from 1, stage and blocks; all of them have the network's activation, or SpecError is
    raised.
    """
    for number, (stage, blocks) in enumerate(
        zip(spec.stages, lower(spec).stages, strict=True), start=1
    ):
        require(
            not stage.activation,
            number,
            f"activation {stage.activation!r}, and it has {spec.activation!r} everywhere",
        )
        yield number, stage, blocks


def conv_widths(block: Block) -> dict[str, int]:
    """Output width of every convolution by its role, and the block's input width as `entry`."""
    return {conv.name: conv.out_width for conv in block.convs} | {"entry": block.convs[0].in_width}


def has_standard_shortcut(block: Block) -> bool:
    """Whether the block adds its input just where shapes agree."""
    stride = max(conv.stride for conv in block.convs)
    return block.shortcut == (stride == 1 and block.convs[0].in_width == block.convs[-1].out_width)


def bottleneck_stages(spec: ArchSpec) -> list[tuple[int, int, int]]:
    """Hidden width, width and depth of each stage of a ResNet."""
    require_fields(
        spec,
        {"stem_width": 64, "stem_kernel": 7, "stem_stride": 2, "stem_pool": True, "head_width": 0},
    )
    require_fields(spec, {"padding": "symmetric"})
    strides = [stage.stride for stage in spec.stages]
    if strides != [1, 2, 2, 2]:
        raise SpecError(f"stages: strides {strides}, and it has 1, 2, 2, 2")
    rows = []
    for number, stage, blocks in iter_stages(spec):
        require(
            stage.block == "bottleneck" and stage.skip,
            number,
            "it has bottlenecks with shortcuts only",
        )
        require(
            stage.kernel == 3 and not stage.se,
            number,
            "it has 3x3 kernels and no squeeze-and-excitation",
        )
        require(stage.width % 4 == 0, number, f"width {stage.width}, and it has multiples of 4")
        rows.append((conv_widths(blocks[0])["reduce"], stage.width, stage.depth))
    return rows
