"""The FLOPs of a network at every resolution, and for every depth, from one walk.

A convolution costs its weights times its output pixels, "same" padding halves sides upward, and
halving k times in turn is dividing by 2^k at once: ceil(ceil(side / 2) / 2) = ceil(side / 4). So
FLOPs(side) = constant + sum over k of weights[k] * ceil(side / 2^k)^2, exactly, where constant is
what works on the pooled map; and each block of a stage after its first adds the same to weights[k]
and constant. What a convolution costs is `phinas.space.cost`'s, what a block is made of
`phinas.space.layers`'.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from phinas.space.cost import conv_cost, head_cost
from phinas.space.layers import Block, lower_block, lower_stem
from phinas.space.spec import ArchSpec

Weights = tuple[
    int, ...
]  # multiply-adds a pixel of a map halved k times, for k from 0; the last: whatever the side


def flops_at(weights: Weights, side: int) -> int:
    """Multiply-adds for an image of `side` pixels of a side."""
    flops, size = weights[-1], 1
    for weight in weights[:-1]:
        flops += weight * (-(-side // size)) ** 2
        size *= 2
    return flops


@dataclass(frozen=True, slots=True)
class CostBySide:
    """fixed: of stem, the first block of each stage, head. repeated: for each stage, k of its maps
    and what one further block adds to weights[k] and to the constant."""

    fixed: Weights
    repeated: tuple[tuple[int, int, int], ...]

    def weights(self, depths: Sequence[int]) -> Weights:
        """Of the network with `depths` blocks in its stages, each at least 1."""
        total = list(self.fixed)
        for depth, (level, weight, constant) in zip(depths, self.repeated, strict=True):
            total[level] += (depth - 1) * weight
            total[-1] += (depth - 1) * constant
        return tuple(total)


def cost_by_side(spec: ArchSpec) -> CostBySide:
    """Of a network without identities (`ArchSpec.simplified` leaves them out); its depths and its
    resolution don't matter.
    """
    levels = spec.reduction.bit_length()  # strides are 1 or 2
    fixed = [0] * (levels + 1)

    def add(block: Block, level: int) -> int:
        before = level
        for conv in block.convs:
            level += conv.stride == 2
            fixed[-1 if conv.pooled else level] += conv_cost(conv, 1).flops
        if block.projection:
            fixed[before + (block.projection.stride == 2)] += conv_cost(block.projection, 1).flops
        return level

    stem = lower_stem(spec)
    level = add(Block((stem,), shortcut=False), 0) + spec.stem_pool
    width = spec.stem_width
    repeated = []
    for stage in spec.stages:
        level = add(lower_block(stage, in_width=width, first=True, activation=""), level)
        rest = lower_block(stage, in_width=stage.width, first=False, activation="")
        flops = [(conv.pooled, conv_cost(conv, 1).flops) for conv in rest.convs]
        repeated.append(
            (
                level,
                sum(f for pooled, f in flops if not pooled),
                sum(f for pooled, f in flops if pooled),
            )
        )
        width = stage.width
    one, two = (
        head_cost(spec, width, side).flops for side in (1, 2)
    )  # linear in the pixels, of which there are 1 and 4
    fixed[level] += (two - one) // 3
    fixed[-1] += one - (two - one) // 3
    return CostBySide(tuple(fixed), tuple(repeated))
