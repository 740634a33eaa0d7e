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
    exact = math.ceil(depth - 1e-9) if rounding == "ceil" else math.floor(depth + 0.5)
    return max(1, exact)


def round_side(side: float) -> int:
    """Pixels of a scaled side: the nearest whole number, of halves the even one; at least 1."""
    return max(1, round(side))


def run_depths(spec: ArchSpec) -> list[int]:
    """The blocks of each stage, or of each run of stages that go on from one another, of a spec
    that is `simplified`.
    """
    return [sum(stage.depth for stage in run) for run in _runs(spec.stages)]


def scaled_depths(
    depths: Sequence[int], factor: float, *, rounding: DepthRounding = "ceil"
) -> list[int]:
    """`depths` of stages times `factor`, rounded one by one, or together where `balanced`; each at
    least 1.
    """
    if rounding == "balanced":
        return _apportioned(depths, round_depth(sum(depths) * factor, rounding="round"))
    return [round_depth(depth * factor, rounding=rounding) for depth in depths]


def scaled_widths(widths: Sequence[int], factor: float, *, divisor: int = 8) -> list[int]:
    """`widths` times `factor`, rounded; a factor of exactly 1 leaves them as they are, as it does a
    width of 0 (no head).
    """
    return [
        round_width(width * factor, divisor=divisor) if width and factor != 1 else width
        for width in widths
    ]


def all_widths(spec: ArchSpec) -> list[int]:
    """Channels of stem, stages and head."""
    return [spec.stem_width, *(stage.width for stage in spec.stages), spec.head_width]


def shaped(spec: ArchSpec, depths: Sequence[int], widths: Sequence[int]) -> ArchSpec:
    """`spec`, which is `simplified`, with the blocks of its runs (`run_depths`) and its widths
    (`all_widths`) replaced.
    """
    stem, *each, head = widths
    stages: list[StageSpec] = []
    for run, total in zip(_runs(spec.stages), depths, strict=True):
        for stage, depth in zip(run, _shared([stage.depth for stage in run], total), strict=True):
            width = each.pop(0)
            if depth:
                stages.append(replace(stage, width=width, depth=depth))
    return replace(spec, stages=tuple(stages), stem_width=stem, head_width=head)


def _runs(stages: tuple[StageSpec, ...]) -> list[list[StageSpec]]:
    """`stages` in groups, each of which stays at one size and width after its first block."""
    runs: list[list[StageSpec]] = []
    for stage in stages:
        if runs and stage.stride == 1 and stage.width == runs[-1][0].width:
            runs[-1].append(stage)
        else:
            runs.append([stage])
    return runs


def _shared(depths: list[int], total: int) -> list[int]:
    """`total` blocks for the stages of a run in proportion to `depths`: as `_apportioned`, so that
    growing takes none away, and fewer than there were by largest remainders, the later first; the
    first keeps one, others may be left out."""
    if total >= sum(depths):
        return _apportioned(depths, total)
    exact = [depth * total / sum(depths) for depth in depths]
    whole = [math.floor(share + 1e-9) for share in exact]
    whole[0] = max(1, whole[0])
    order = sorted(
        range(len(depths)), key=lambda index: (exact[index] - whole[index], index), reverse=True
    )
    for index in order[: max(0, total - sum(whole))]:
        whole[index] += 1
    while sum(whole) > total:  # the first one's block came on top
        whole[max(index for index in range(1, len(whole)) if whole[index])] -= 1
    return whole


def _apportioned(depths: Sequence[int], total: int) -> list[int]:
    """`total` blocks for the stages by Sainte-Laguë's rule, each at least 1; of equal claims the
    later stage's comes first.
    """
    if len(depths) == 1:
        return [max(1, total)]
    total, before = max(total, len(depths)), sum(depths)
    blocks = [
        max(1, (2 * depth * total + before) // (2 * before)) for depth in depths
    ]  # a common factor of total / before

    def claim(index: int, block: int) -> tuple[Fraction, int]:
        return Fraction(depths[index], 2 * block - 1), index

    while sum(blocks) < total:
        blocks[max(range(len(blocks)), key=lambda index: claim(index, blocks[index] + 1))] += 1
    while sum(blocks) > total:
        blocks[
            min(
                (i for i, count in enumerate(blocks) if count > 1),
                key=lambda index: claim(index, blocks[index]),
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
    Where width or depth change, the stages are those of the network told in the shortest way, so
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
        spec = spec.simplified()
        depths = scaled_depths(run_depths(spec), depth, rounding=rounding)
        spec = shaped(spec, depths, scaled_widths(all_widths(spec), width, divisor=divisor))
    return replace(spec, resolution=round_side(spec.resolution * resolution))
