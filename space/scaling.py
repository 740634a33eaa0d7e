"""Rounding of scaled widths, depths and resolutions, as in EfficientNet's published code.

From EfficientNet (arXiv:1905.11946, section 3.3) and its published code: widths (stem, every stage,
head) to the nearest multiple of 8 that is not below 90% of the exact value; depths up, every stage
alike. (The later automl code drops the 90% guard, and its B3 differs; it is not followed here.)
Stages that continue one another at one size and width, as the layers of a layer-wise search do, are
scaled in depth as one group: 1 + 1 + 1 blocks times 1.2 are 4, not 6.

Rounding up adds blocks: B0 has 16, and at a factor of 1.05 it has 23, not 17. `balanced` rounds the
total number of blocks to the nearest, and apportions the blocks to the stages by
Sainte-Laguë's (Webster's) method: every stage is rounded to the nearest under one common factor,
the one that gives that total. The largest-remainder method is not used, because under it a stage
may lose a block when the network gains one (Balinski and Young, Fair Representation, 1982;
EfficientNetV2-S, from 49 to 50 blocks). Here no stage shrinks as the factor rises, and none is
below its own depth from a factor of 1 on. The method is old, its use for depths is this project's.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from phinas.space.field_checks import SpecError
from phinas.space.stage_spec import StageSpec

DepthRounding = Literal["ceil", "round", "balanced"]
MAX_FACTOR = 1_000_000


def check_factor(name: str, factor: float) -> None:
    """Raise SpecError unless `factor` is a number above 0 and below MAX_FACTOR."""
    if (
        isinstance(factor, bool)
        or not isinstance(factor, int | float)
        or not 0 < factor < MAX_FACTOR
    ):
        raise SpecError(
            f"{name}: factor {factor!r} is not a number above 0 and below {MAX_FACTOR:,}"
        )


def round_width(width: float, *, divisor: int = 8) -> int:
    """The official rounding of a channel count: the nearest multiple of `divisor`, at least
    `divisor`, and never below 90% of `width`.
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def round_depth(depth: float, *, rounding: Literal["ceil", "round"] = "ceil") -> int:
    """Blocks of a scaled stage, at least 1: rounded up (the paper's), or to the nearest, halves
    up.
    """
    # A factor that was computed may exceed its decimal by a last bit (1.1**2 * 100 does): that must
    # not add a block.
    rounded = math.ceil(depth - 1e-9) if rounding == "ceil" else math.floor(depth + 0.5)
    return max(1, rounded)


def round_resolution(resolution: float) -> int:
    """A scaled resolution in px: the nearest whole number, halves to even; at least 1."""
    return max(1, round(resolution))


def scale_depths(
    depths: Sequence[int], factor: float, *, rounding: DepthRounding = "ceil"
) -> list[int]:
    """`depths` of stages times `factor`, rounded one by one, or together if `balanced`; each at
    least 1.
    """
    if rounding == "balanced":
        return _apportion_blocks(depths, round_depth(sum(depths) * factor, rounding="round"))
    return [round_depth(depth * factor, rounding=rounding) for depth in depths]


def scale_widths(widths: Sequence[int], factor: float, *, divisor: int = 8) -> list[int]:
    """`widths` times `factor`, rounded.

    A factor of exactly 1 leaves the widths as they are, and a factor below 1 raises none. A width
    of 0 (no head) stays 0.
    """
    if factor == 1:
        return list(widths)
    rounded = [round_width(width * factor, divisor=divisor) if width else 0 for width in widths]
    if factor > 1:
        return rounded
    return [min(width, new_width) for width, new_width in zip(widths, rounded, strict=True)]


def sum_group_depths(stages: Sequence[StageSpec]) -> list[int]:
    """The number of blocks of each stage group of a canonical network.

    A group is a run of stages that keep one resolution and width after its first block.
    """
    return [sum(stage.depth for stage in group) for group in _stage_groups(stages)]


def resize_stages(
    stages: Sequence[StageSpec], depths: Sequence[int], widths: Sequence[int]
) -> tuple[StageSpec, ...]:
    """The stages of a canonical network with other depths and widths.

    Args:
        stages: the stages.
        depths: the new number of blocks of each group (`sum_group_depths`).
        widths: the new width of each stage.
    """
    remaining_widths = iter(widths)
    resized: list[StageSpec] = []
    for group, total in zip(_stage_groups(stages), depths, strict=True):
        for stage, depth in zip(
            group, _distribute_blocks([stage.depth for stage in group], total), strict=True
        ):
            width = next(remaining_widths)
            if depth:
                resized.append(replace(stage, width=width, depth=depth))
    return tuple(resized)


def _stage_groups(stages: Sequence[StageSpec]) -> list[list[StageSpec]]:
    groups: list[list[StageSpec]] = []
    for stage in stages:
        if groups and stage.stride == 1 and stage.width == groups[-1][0].width:
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return groups


def _distribute_blocks(depths: list[int], total: int) -> list[int]:
    """`total` blocks for the stages of a group, in proportion to `depths`.

    A group that grows is apportioned by `_apportion_blocks`, so that no stage loses a block. A
    group that shrinks is apportioned by largest remainders, later stages first. The first stage
    keeps at least one block; the others may lose all.
    """
    if total >= sum(depths):
        return _apportion_blocks(depths, total)
    quotas = [depth * total / sum(depths) for depth in depths]
    counts = [math.floor(quota + 1e-9) for quota in quotas]
    counts[0] = max(1, counts[0])
    order = sorted(
        range(len(depths)),
        key=lambda stage_index: (quotas[stage_index] - counts[stage_index], stage_index),
        reverse=True,
    )
    for stage_index in order[: max(0, total - sum(counts))]:
        counts[stage_index] += 1
    while sum(counts) > total:  # the first stage's block was added
        counts[
            max(stage_index for stage_index in range(1, len(counts)) if counts[stage_index])
        ] -= 1
    return counts


def _apportion_blocks(depths: Sequence[int], total: int) -> list[int]:
    """`total` blocks for the stages by Sainte-Laguë's method, each at least 1.

    Among equal quotients the later stage's comes first.
    """
    if len(depths) == 1:
        return [max(1, total)]
    total, old_total = max(total, len(depths)), sum(depths)
    blocks = [
        max(1, (2 * depth * total + old_total) // (2 * old_total))  # factor total / old_total
        for depth in depths
    ]

    def quotient(index: int, block: int) -> tuple[Fraction, int]:
        return Fraction(depths[index], 2 * block - 1), index

    while sum(blocks) < total:
        blocks[max(range(len(blocks)), key=lambda index: quotient(index, blocks[index] + 1))] += 1
    while sum(blocks) > total:
        blocks[
            min(
                (i for i, count in enumerate(blocks) if count > 1),
                key=lambda index: quotient(index, blocks[index]),
            )
        ] -= 1
    return blocks
