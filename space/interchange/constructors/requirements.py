"""What timm's and torchvision's classes require of a spec."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phinas.space.layers import Block, lower
from phinas.space.spec import ArchSpec, SpecError, StageSpec


@dataclass(frozen=True, slots=True)
class Constructor:
    """A class and its arguments.

    Attributes:
        naming: a key of state_dict_namings.STATE_DICT_NAMINGS.
        arguments: the arguments as plain data.
        lines: Python code that assigns the network to `model`.
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
    """6 for 6.0, because the classes need whole numbers."""
    return int(value) if float(value).is_integer() else value


def require_fields(spec: ArchSpec, required: Mapping[str, object]) -> None:
    """Raise SpecError if a field of `spec` differs from what the class has."""
    for name, value in required.items():
        if getattr(spec, name) != value:
            raise SpecError(f"{name}: {getattr(spec, name)!r}, the class has {value!r}")


def require(condition: object, number: int, message: str) -> None:
    """Raise SpecError about stage `number`, counted from 1, unless `condition`."""
    if not condition:
        raise SpecError(f"stage {number}: {message}")


def iter_stages(spec: ArchSpec) -> Iterator[tuple[int, StageSpec, tuple[Block, ...]]]:
    """Number from 1, stage and blocks.

    Raises:
        SpecError: a stage has another activation than the network.
    """
    for number, (stage, blocks) in enumerate(
        zip(spec.stages, lower(spec).stages, strict=True), start=1
    ):
        require(
            not stage.activation,
            number,
            f"activation {stage.activation!r}, the class has {spec.activation!r} everywhere",
        )
        yield number, stage, blocks


def conv_widths(block: Block) -> dict[str, int]:
    """Output width of every convolution by name, and the block's input width as `entry`."""
    return {conv.name: conv.out_width for conv in block.convs} | {"entry": block.convs[0].in_width}


def has_standard_shortcut(block: Block) -> bool:
    """Whether the block has a shortcut exactly if the shapes agree."""
    stride = max(conv.stride for conv in block.convs)
    return block.shortcut == (stride == 1 and block.convs[0].in_width == block.convs[-1].out_width)


@dataclass(frozen=True, slots=True)
class ResNetLayout:
    """The stages of a ResNet as timm's and torchvision's classes take them.

    Attributes:
        block_class: "BasicBlock" or "Bottleneck".
        expansion: output width of a block over its `planes`.
        hidden_widths: width of the k x k convolution in each stage.
        widths: output width of each stage.
        depths: number of blocks of each stage.
    """

    block_class: str
    expansion: int
    hidden_widths: tuple[int, ...]
    widths: tuple[int, ...]
    depths: tuple[int, ...]


# Kind of block: class, its expansion, and the convolution whose width is the hidden width.
_RESNET_BLOCKS = {"basic": ("BasicBlock", 1, "conv1"), "bottleneck": ("Bottleneck", 4, "reduce")}


def resnet_layout(spec: ArchSpec) -> ResNetLayout:
    """The stages of a ResNet.

    Raises:
        SpecError: the classes cannot make a ResNet of this spec.
    """
    require_fields(
        spec,
        {"stem_width": 64, "stem_kernel": 7, "stem_stride": 2, "stem_pool": True, "head_width": 0},
    )
    require_fields(spec, {"padding": "symmetric"})
    strides = [stage.stride for stage in spec.stages]
    if strides != [1, 2, 2, 2]:
        raise SpecError(f"stages: strides {strides}, the class has 1, 2, 2, 2")
    kind = spec.stages[0].block
    require(kind in _RESNET_BLOCKS, 1, f"the class has blocks {' or '.join(_RESNET_BLOCKS)} only")
    block_class, expansion, hidden_name = _RESNET_BLOCKS[kind]
    hidden_widths = []
    for number, stage, blocks in iter_stages(spec):
        require(
            stage.block == kind and stage.skip,
            number,
            f"the class has {kind} blocks with shortcuts only",
        )
        require(
            stage.kernel == 3 and not stage.se,
            number,
            "the class has 3x3 kernels and no squeeze-and-excitation",
        )
        require(
            stage.width % expansion == 0,
            number,
            f"width {stage.width}, the class has multiples of {expansion}",
        )
        hidden_widths.append(conv_widths(blocks[0])[hidden_name])
    return ResNetLayout(
        block_class,
        expansion,
        tuple(hidden_widths),
        tuple(stage.width for stage in spec.stages),
        tuple(stage.depth for stage in spec.stages),
    )
