"""What a network costs, in closed form and without torch.

Convention: FLOPs are *multiply-adds of convolutions and the classifier, per image*, the papers' FLOPS and the `conv` +
`linear` part of fvcore. Not counted: batch norm, activations, pooling, the multiplication and addition of SE and
shortcut (about 4% on B0). Activations are output elements of convolutions and classifier (Dollar et al.,
arXiv:2103.06877). Parameters are all trainable ones.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from space.layers import Block, Conv, lower_block
from space.spec import ArchSpec, StageSpec


@dataclass(frozen=True, slots=True)
class Cost:
    """flops: multiply-adds per image; params: trainable numbers; activations: output elements per image."""

    flops: int
    params: int
    activations: int

    def __add__(self, other: Self) -> Self:
        return type(self)(self.flops + other.flops, self.params + other.params, self.activations + other.activations)

    def __mul__(self, times: int) -> Self:
        return type(self)(self.flops * times, self.params * times, self.activations * times)


@dataclass(frozen=True, slots=True)
class StageCost:
    """One row of `phinas describe`: `name` is stem, 1..n, head; `side` is the output's pixels of a side."""

    name: str
    side: int
    width: int
    cost: Cost


def reduced(side: int, stride: int) -> int:
    """The side of a map after a convolution of that stride with "same" padding."""
    return -(-side // stride)


def conv_cost(conv: Conv, side: int) -> Cost:
    """Cost of one convolution whose *output* has `side` pixels of a side (1 where it works on the pooled map)."""
    pixels = 1 if conv.pooled else side * side
    weights = conv.kernel * conv.kernel * (conv.in_width // conv.groups) * conv.out_width
    extra = 2 * conv.out_width if conv.norm else conv.out_width
    return Cost(weights * pixels, weights + extra, conv.out_width * pixels)


def _block_cost(block: Block, side: int) -> Cost:
    """Cost of a block that takes a map of `side` pixels of a side."""
    total = Cost(0, 0, 0)
    for conv in block.convs:
        side = reduced(side, conv.stride)
        total = total + conv_cost(conv, side)
    return total


@lru_cache(maxsize=1 << 16)
def _stage_cost(stage: StageSpec, in_width: int, side: int) -> Cost:
    # The activation has no cost, so its name does not matter here.
    first = lower_block(stage, in_width=in_width, first=True, activation="")
    rest = lower_block(stage, in_width=stage.width, first=False, activation="")
    return _block_cost(first, side) + _block_cost(rest, reduced(side, stage.stride)) * (stage.depth - 1)


def stage_costs(spec: ArchSpec) -> list[StageCost]:
    """The cost of stem, each stage and head in order; their sum is `cost(spec)`."""
    side = reduced(spec.resolution, spec.stem_stride)
    stem = Conv("stem", spec.channels, spec.stem_width, spec.stem_kernel, spec.stem_stride)
    rows = [StageCost("stem", side, spec.stem_width, conv_cost(stem, side))]
    width = spec.stem_width
    for number, stage in enumerate(spec.stages, start=1):
        stage_cost = _stage_cost(stage, width, side)
        side, width = reduced(side, stage.stride), stage.width
        rows.append(StageCost(str(number), side, width, stage_cost))
    head = conv_cost(Conv("head", width, spec.head_width), side)
    linear = Cost(spec.head_width * spec.classes, (spec.head_width + 1) * spec.classes, spec.classes)
    return [*rows, StageCost("head", 1, spec.classes, head + linear)]


def cost(spec: ArchSpec) -> Cost:
    """FLOPs (multiply-adds), parameters and activations of `spec` for one image, exactly."""
    return sum((row.cost for row in stage_costs(spec)), Cost(0, 0, 0))
