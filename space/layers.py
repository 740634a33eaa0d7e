"""Lowering: the convolutions that a network is made of.

The torch modules (`pytorch`), the closed-form cost (`cost`), other tools' counts and other
libraries' names all read what is lowered here, so they cannot disagree. The arithmetic of a block
is in `block_kinds`. Sizes follow "same" padding: a convolution of stride s turns a resolution of
n px into ceil(n / s).
"""

from dataclasses import dataclass

from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.block_kinds.block import Block, BlockSettings, Conv
from phinas.space.network_fields import NetworkFields
from phinas.space.stage_spec import StageSpec

__all__ = [
    "Block",
    "Conv",
    "LoweredNetwork",
    "lower",
    "lower_block",
    "lower_stem",
    "output_resolution",
]


@dataclass(frozen=True, slots=True)
class LoweredNetwork:
    """stem -> 3x3 max pooling of stride 2, if `stem_pool` -> stages of blocks -> head, if any ->
    global average pooling -> linear (classes). A stage without blocks passes its input on.
    """

    stem: Conv
    stem_pool: bool
    stages: tuple[tuple[Block, ...], ...]
    head: Conv | None


def output_resolution(resolution: int, stride: int) -> int:
    """The resolution of a map after a convolution of that stride with "same" padding."""
    # Not -(-resolution // stride): ONNX divides a negative number towards 0.
    return (resolution + stride - 1) // stride


def lower_block(stage: StageSpec, *, in_width: int, first: bool, activation: str) -> Block:
    """One block of `stage`.

    Args:
        stage: a stage that is not an identity.
        in_width: input channels of the block.
        first: whether it is the stage's first block, which has the stride.
        activation: the network's.
    """
    lower_kind = BLOCK_KINDS[stage.block].lower
    if lower_kind is None:
        raise ValueError(f"stage of {stage.block!r}: has no block")
    return lower_kind(
        BlockSettings(
            in_width,
            stage.width,
            stage.kernel,
            stage.stride if first else 1,
            stage.expansion,
            stage.se,
            stage.skip,
            stage.activation or activation,
        )
    )


def lower_stem(spec: NetworkFields) -> Conv:
    """The stem convolution."""
    return Conv(
        "stem",
        spec.channels,
        spec.stem_width,
        spec.stem_kernel,
        spec.stem_stride,
        activation=spec.activation,
    )


def lower(spec: NetworkFields) -> LoweredNetwork:
    """Every convolution of `spec`, in the order of execution."""
    stages: list[tuple[Block, ...]] = []
    width = spec.stem_width
    for stage in spec.stages:
        if stage.block == "identity":
            stages.append(())
            continue
        first = lower_block(stage, in_width=width, first=True, activation=spec.activation)
        repeated_block = lower_block(
            stage, in_width=stage.width, first=False, activation=spec.activation
        )
        stages.append((first, *[repeated_block] * (stage.depth - 1)))
        width = stage.width
    head = (
        Conv("head", width, spec.head_width, activation=spec.activation)
        if spec.head_width
        else None
    )
    return LoweredNetwork(lower_stem(spec), spec.stem_pool, tuple(stages), head)
