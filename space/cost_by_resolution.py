"""The FLOPs of a network at every resolution and for every depth, from one pass over its layers.

A convolution costs its weights times its output pixels. "Same" padding halves resolutions and
rounds up, and k halvings are one division by 2^k: ceil(ceil(r / 2) / 2) = ceil(r / 4). So
FLOPs(r) = constant + sum over k of flops_per_pixel[k] * ceil(r / 2^k)^2, exactly, where the
constant is the cost of the layers on the pooled map. Each block of a stage after its first adds the
same amounts to flops_per_pixel[k] and to the constant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from phinas.space.cost import conv_cost, head_cost
from phinas.space.layers import Block, lower_block, lower_stem
from phinas.space.network_fields import NetworkFields

# Multiply-adds per pixel of a map halved k times, for k from 0, and at the end those that do not
# depend on the resolution.
FlopsPerPixel = tuple[int, ...]


def flops_at(flops_per_pixel: FlopsPerPixel, resolution: int) -> int:
    """Multiply-adds for an image of `resolution` px."""
    flops, scale = flops_per_pixel[-1], 1
    for flops_at_level in flops_per_pixel[:-1]:
        flops += flops_at_level * (-(-resolution // scale)) ** 2
        scale *= 2
    return flops


@dataclass(frozen=True, slots=True)
class CostByResolution:
    """The FLOPs of a network for any depths and resolution.

    Attributes:
        base_flops: those of stem, the first block of each stage, and head.
        repeated_blocks: for each stage, the level k of its maps, and what one more block adds to
            flops_per_pixel[k] and to the constant.
    """

    base_flops: FlopsPerPixel
    repeated_blocks: tuple[tuple[int, int, int], ...]

    def flops_per_pixel(self, depths: Sequence[int]) -> FlopsPerPixel:
        """The FLOPs of the network with `depths` blocks in its stages, each at least 1."""
        flops_per_pixel = list(self.base_flops)
        for depth, (level, per_pixel, constant) in zip(depths, self.repeated_blocks, strict=True):
            flops_per_pixel[level] += (depth - 1) * per_pixel
            flops_per_pixel[-1] += (depth - 1) * constant
        return tuple(flops_per_pixel)


def cost_by_resolution(spec: NetworkFields) -> CostByResolution:
    """The FLOPs of a network without identities (`ArchSpec.canonicalize` leaves them out). Its own
    depths and resolution are ignored.
    """
    levels = spec.total_stride.bit_length()  # strides are 1 or 2
    base_flops = [0] * (levels + 1)

    def add_block(block: Block, level: int) -> int:
        in_level = level
        for conv in block.convs:
            level += conv.stride == 2
            base_flops[-1 if conv.pooled_input else level] += conv_cost(conv, 1).flops
        if block.projection:
            base_flops[in_level + (block.projection.stride == 2)] += conv_cost(
                block.projection, 1
            ).flops
        return level

    stem = lower_stem(spec)
    level = add_block(Block((stem,), shortcut=False), 0) + spec.stem_pool
    width = spec.stem_width
    repeated_blocks = []
    for stage in spec.stages:
        level = add_block(lower_block(stage, in_width=width, first=True, activation=""), level)
        repeated_block = lower_block(stage, in_width=stage.width, first=False, activation="")
        flops = [(conv.pooled_input, conv_cost(conv, 1).flops) for conv in repeated_block.convs]
        repeated_blocks.append(
            (
                level,
                sum(f for is_constant, f in flops if not is_constant),
                sum(f for is_constant, f in flops if is_constant),
            )
        )
        width = stage.width
    # linear in the number of pixels, 1 and 4
    flops_of_one_pixel, flops_of_four_pixels = (
        head_cost(spec, width, resolution).flops for resolution in (1, 2)
    )
    base_flops[level] += (flops_of_four_pixels - flops_of_one_pixel) // 3
    base_flops[-1] += flops_of_one_pixel - (flops_of_four_pixels - flops_of_one_pixel) // 3
    return CostByResolution(tuple(base_flops), tuple(repeated_blocks))
