"""One stage of a network: alike blocks in a row, the first of which may halve the map."""

from dataclasses import dataclass, fields, replace
from typing import Any

from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.field_checks import (
    check_bool,
    check_choice,
    check_integer,
    check_kernel,
    check_number,
    field_error,
)

BLOCKS = tuple(BLOCK_KINDS)
ACTIVATIONS = ("silu", "relu", "relu6", "hard_swish")
MAX_WIDTH = 1 << 17
MAX_DEPTH = 1 << 10


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage of `depth` alike blocks.

    The first block has the stage's stride and takes the width of the stage before; the others keep
    size and width.

    Attributes:
        width: output channels.
        depth: number of blocks.
        kernel: size of the spatial convolution, odd.
        stride: 1 or 2.
        expansion: hidden width over input width, at least 1 (at 1 without an expanding
            convolution); in a bottleneck output width over hidden width.
        se: squeeze-and-excitation width over the block's *input* width, 0 for none.
        skip: whether the input is added where the shapes agree (blocks of ResNet make them agree).
        block: a name of BLOCK_KINDS.
        activation: one of ACTIVATIONS, or "" for the network's.

    Raises:
        SpecError: a field is not legal.
    """

    width: int
    depth: int
    kernel: int = 3
    stride: int = 1
    expansion: float = 6
    se: float = 0.25
    skip: bool = True
    block: str = "mbconv"
    activation: str = ""

    def __post_init__(self) -> None:
        check_integer("width", self.width, minimum=1, maximum=MAX_WIDTH)
        check_integer("depth", self.depth, minimum=1, maximum=MAX_DEPTH)
        check_kernel("kernel", self.kernel)
        check_integer("stride", self.stride, minimum=1, maximum=2)
        check_number("expansion", self.expansion, minimum=1, maximum=64)
        check_number("se", self.se, minimum=0, maximum=1)
        check_bool("skip", self.skip)
        check_choice("block", self.block, BLOCK_KINDS)
        if self.block == "identity" and self.stride != 1:
            raise field_error(
                "stride",
                self.stride,
                "is impossible for an identity; use another block, or stride 1",
            )
        if self.activation != "":
            check_choice("activation", self.activation, ACTIVATIONS)


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(StageSpec)}


def unused_fields(block: str) -> tuple[str, ...]:
    """The fields of StageSpec that have no effect in that kind of block."""
    return BLOCK_KINDS[block].unused_fields


def skip_has_effect(stage: StageSpec, in_width: int) -> bool:
    """Whether `skip` changes anything in this stage."""
    return (
        stage.depth > 1
        or BLOCK_KINDS[stage.block].projects_shortcut
        or (stage.stride == 1 and in_width == stage.width)
    )


def reset_unused_fields(stage: StageSpec, activation: str) -> StageSpec:
    """`stage` with the fields that have no effect in its block at their defaults; `activation` is
    the network's.
    """
    defaults: dict[str, Any] = {name: _DEFAULTS[name] for name in unused_fields(stage.block)}
    if stage.activation == activation:
        defaults["activation"] = ""
    changed = {name: value for name, value in defaults.items() if getattr(stage, name) != value}
    return replace(stage, **changed) if changed else stage


def merge_stages(
    stages: tuple[StageSpec, ...], *, in_width: int, activation: str
) -> tuple[StageSpec, ...]:
    """The canonical form of the stages of a network.

    Identities are left out, fields without effect are at their defaults, and a stage that only
    repeats the blocks of the one before is merged into it.

    Args:
        stages: the stages.
        in_width: channels that enter the first one.
        activation: the network's.
    """
    merged: list[StageSpec] = []
    # input channels of each stage, and output channels of the last
    in_widths = [in_width]
    for stage in stages:
        if stage.block == "identity":
            continue
        stage = reset_unused_fields(stage, activation)
        previous = merged[-1] if merged else None
        if (
            previous
            and _can_merge(previous, stage)
            and (previous.skip == stage.skip or not skip_has_effect(previous, in_widths[-2]))
        ):
            merged[-1] = replace(previous, depth=previous.depth + stage.depth, skip=stage.skip)
        else:
            merged.append(stage)
            in_widths.append(stage.width)
    for index, stage in enumerate(merged):
        if not stage.skip and not skip_has_effect(stage, in_widths[index]):
            merged[index] = replace(stage, skip=True)
    return tuple(merged)


def _can_merge(previous: StageSpec, stage: StageSpec) -> bool:
    """Whether the blocks of `stage` are, except perhaps for `skip`, like the repeated ones of
    `previous`, the stage before it.
    """
    same_fields = all(
        getattr(previous, name) == getattr(stage, name)
        for name in ("width", "block", "kernel", "expansion", "se", "activation")
    )
    return stage.stride == 1 and same_fields and previous.depth + stage.depth <= MAX_DEPTH
