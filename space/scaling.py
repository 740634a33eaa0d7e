"""Scaling a network in width, depth and resolution, with the official rounding.

From EfficientNet (arXiv:1905.11946, section 3.3) and its published code: widths (stem, every stage,
head) to the nearest multiple of 8 that is not below 90% of the exact value; depths up, every stage
alike. (The later automl code drops the 90% guard, and its B3 differs; it is not followed here.)
Stages that go on from one another at one size and width, as the layers of a layer-wise search do,
are scaled in depth as one: 1 + 1 + 1 blocks times 1.2 are 4, not 6.

Rounding up adds blocks: B0 has 16, and at a factor of 1.05 not 17 but 23. `balanced` keeps the
number of blocks of the whole network to the nearest of factor times what it was, and apportions
them to the stages as parliaments do seats to parties, by Sainte-Laguë's (Webster's) rule: every
stage is rounded to the nearest under one common factor, the one that gives that number in all. Not
by largest remainders, under which a stage may lose a block when the network gains one (Balinski and
Young, Fair Representation, 1982; EfficientNetV2-S, from 49 to 50 blocks): here no stage ever
shrinks as the factor rises, and none is below its own depth from 1 on. The rule is old, its use for
depths is this project's.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from phinas.space.spec import ArchSpec, SpecError, StageSpec

DepthRounding = Literal["ceil", "round", "balanced"]
MAX_FACTOR = 1_000_000


def round_width(width: float, *, divisor: int = 8) -> int:
    """The official rounding of a channel count: nearest multiple of `divisor`, at least it, never
    below 90% of `width`.
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def round_depth(depth: float, *, rounding: Literal["ceil", "round"] = "ceil") -> int:
    """Blocks of a scaled stage: up (the paper's), or half up to the nearest; at least 1."""
    # A factor that was computed may exceed its decimal by a last bit (1.1**2 * 100 does): that must
    # not add a block.
    rounded = math.ceil(depth - 1e-9) if rounding == "ceil" else math.floor(depth + 0.5)
    return max(1, rounded)


def round_resolution(resolution: float) -> int:
    """A scaled resolution: the nearest whole number, of halves the even one; at least 1."""
    return max(1, round(resolution))


def group_depths(spec: ArchSpec) -> list[int]:
    """The blocks of each stage group (stages that continue one another at one resolution and width)
    of a canonical spec.
    """
    return [sum(stage.depth for stage in group) for group in _stage_groups(spec.stages)]


def scale_depths(
    depths: Sequence[int], factor: float, *, rounding: DepthRounding = "ceil"
) -> list[int]:
    """`depths` of stages times `factor`, rounded one by one, or together where `balanced`; each at
    least 1.
    """
    if rounding == "balanced":
        return _apportion_blocks(depths, round_depth(sum(depths) * factor, rounding="round"))
    return [round_depth(depth * factor, rounding=rounding) for depth in depths]


def scale_widths(widths: Sequence[int], factor: float, *, divisor: int = 8) -> list[int]:
    """`widths` times `factor`, rounded; a factor of exactly 1 leaves them as they are, as it does a
    width of 0 (no head).
    """
    return [
        round_width(width * factor, divisor=divisor) if width and factor != 1 else width
        for width in widths
    ]


def network_widths(spec: ArchSpec) -> list[int]:
    """Channels of stem, stages and head."""
    return [spec.stem_width, *(stage.width for stage in spec.stages), spec.head_width]


def replace_depths_and_widths(
    spec: ArchSpec, depths: Sequence[int], widths: Sequence[int]
) -> ArchSpec:
    """`spec`, which is canonical, with the blocks of its stage groups (`group_depths`) and its
    widths (`network_widths`) replaced.
    """
    stem, *stage_widths, head = widths
    stages: list[StageSpec] = []
    for group, total in zip(_stage_groups(spec.stages), depths, strict=True):
        for stage, depth in zip(
            group, _distribute_blocks([stage.depth for stage in group], total), strict=True
        ):
            width = stage_widths.pop(0)
            if depth:
                stages.append(replace(stage, width=width, depth=depth))
    return replace(spec, stages=tuple(stages), stem_width=stem, head_width=head)


def _stage_groups(stages: tuple[StageSpec, ...]) -> list[list[StageSpec]]:
    """`stages` in groups, each of which stays at one size and width after its first block."""
    groups: list[list[StageSpec]] = []
    for stage in stages:
        if groups and stage.stride == 1 and stage.width == groups[-1][0].width:
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return groups


def _distribute_blocks(depths: list[int], total: int) -> list[int]:
    """`total` blocks for the stages of a group in proportion to `depths`: as `_apportion_blocks`,
    so that growing takes none away, and fewer than there were by largest remainders, the later
    first; the first keeps one, others may be left out."""
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
    while sum(counts) > total:  # the first one's block came on top
        counts[
            max(stage_index for stage_index in range(1, len(counts)) if counts[stage_index])
        ] -= 1
    return counts


def _apportion_blocks(depths: Sequence[int], total: int) -> list[int]:
    """`total` blocks for the stages by Sainte-Laguë's rule, each at least 1; of equal quotients the
    later stage's comes first.
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


def scale(
    spec: ArchSpec,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: float = 1.0,
    divisor: int = 8,
    rounding: DepthRounding = "ceil",
) -> ArchSpec:
    """`spec` with all widths, depths and its resolution multiplied and rounded.

    A factor of exactly 1 leaves its dimension as it is, also where the rounding would move it.
    Where width or depth change, the stages are those of the canonical network, so
    that one network scales to one network however it is written. Raises SpecError for a factor that
    is not a number above 0 and below MAX_FACTOR.
    """
    for name, factor in (("width", width), ("depth", depth), ("resolution", resolution)):
        if (
            isinstance(factor, bool)
            or not isinstance(factor, int | float)
            or not 0 < factor < MAX_FACTOR
        ):
            raise SpecError(
                f"{name}: factor {factor!r} is not a number above 0 and below {MAX_FACTOR:,}"
            )

    if width != 1 or depth != 1:
        spec = spec.canonicalize()
        depths = scale_depths(group_depths(spec), depth, rounding=rounding)
        spec = replace_depths_and_widths(
            spec, depths, scale_widths(network_widths(spec), width, divisor=divisor)
        )
    return replace(spec, resolution=round_resolution(spec.resolution * resolution))
