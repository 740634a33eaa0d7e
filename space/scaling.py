"""Scaling a network in width, depth and resolution, with the official rounding.

From EfficientNet (arXiv:1905.11946, section 3.3) and its published code: widths (stem, every stage, head) to the nearest
multiple of 8 that is not below 90% of the exact value; depths up, every stage alike. (The later automl code drops the
90% guard, and its B3 differs; it is not followed here.) Stages that go on from one another at one size and width, as the
layers of a layer-wise search do, are scaled in depth as one: 1 + 1 + 1 blocks times 1.2 are 4, not 6.
"""

import math
from dataclasses import replace
from typing import Literal

from space.spec import ArchSpec, SpecError, StageSpec

DepthRounding = Literal["ceil", "round"]
MAX_FACTOR = 1_000_000


def round_width(width: float, *, divisor: int = 8) -> int:
    """The official rounding of a channel count: nearest multiple of `divisor`, at least it, never below 90% of `width`."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def round_depth(depth: float, *, rounding: DepthRounding = "ceil") -> int:
    """Blocks of a scaled stage: up (the paper's), or half up to the nearest; at least 1."""
    # A factor that was computed may exceed its decimal by a last bit (1.1**2 * 100 does): that must not add a block.
    exact = math.ceil(depth - 1e-9) if rounding == "ceil" else math.floor(depth + 0.5)
    return max(1, exact)


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
    """`total` blocks shared out in proportion to `depths` by largest remainders, the later first; the first keeps one."""
    exact = [depth * total / sum(depths) for depth in depths]
    whole = [math.floor(share + 1e-9) for share in exact]
    whole[0] = max(1, whole[0])
    order = sorted(range(len(depths)), key=lambda index: (exact[index] - whole[index], index), reverse=True)
    for index in order[: max(0, total - sum(whole))]:
        whole[index] += 1
    while sum(whole) > total:  # the first one's block came on top
        whole[max(index for index in range(1, len(whole)) if whole[index])] -= 1
    return whole


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

    A factor of exactly 1 leaves its dimension as it is, also where the rounding would move it. Raises SpecError for a
    factor that is not a number above 0 and below MAX_FACTOR.
    """
    for name, factor in (("width", width), ("depth", depth), ("resolution", resolution)):
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < MAX_FACTOR:
            raise SpecError(f"{name}: factor {factor!r} is not a number above 0 and below {MAX_FACTOR:,}")

    def wider(value: int) -> int:
        return value if width == 1 else round_width(value * width, divisor=divisor)

    def deeper(value: int) -> int:
        return value if depth == 1 else round_depth(value * depth, rounding=rounding)

    stages: list[StageSpec] = []
    for run in _runs(spec.simplified().stages if depth != 1 else spec.stages):
        depths = _shared([stage.depth for stage in run], deeper(sum(stage.depth for stage in run)))
        stages += [replace(stage, width=wider(stage.width), depth=d) for stage, d in zip(run, depths, strict=True) if d]
    return replace(
        spec,
        stages=tuple(stages),
        stem_width=wider(spec.stem_width),
        head_width=wider(spec.head_width) if spec.head_width else 0,
        resolution=max(1, round(spec.resolution * resolution)),
    )
