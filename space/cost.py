"""What a network costs, in closed form and without torch.

Convention: FLOPs are *multiply-adds of convolutions and the classifier, per image*, the papers'
FLOPS and the `conv` + `linear` part of fvcore. Not counted: batch norm, activations, pooling, the
multiplication and addition of SE and shortcut (about 4% on B0). Activations are output elements of
convolutions and classifier (Dollar et al., arXiv:2103.06877). Parameters are all trainable ones.
Peak activations are the elements that must be held at one time
in inference, at the worst step: the input and the output of the layer at work and the maps kept for
later (a shortcut, a map that waits for its gate), with batch norms folded into their convolutions
and activations, gates and additions done in place. Times the bytes of an element, with the
parameters, that is the memory that inference cannot do without.

For whole batches of a search space's choices: `cost_tables`. What other tools count: `conventions`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from phinas.space.layers import Block, Conv, lower_block, lower_stem, reduced
from phinas.space.spec import ArchSpec, StageSpec


@dataclass(frozen=True, slots=True)
class Cost:
    """flops: multiply-adds per image; params: trainable numbers; activations: output elements per
    image;
    peak_activations: elements held at once. Parts that run one after another add up, except for the
    peak."""

    flops: int
    params: int
    activations: int
    peak_activations: int

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.flops + other.flops,
            self.params + other.params,
            self.activations + other.activations,
            max(self.peak_activations, other.peak_activations),
        )

    def __mul__(self, times: int) -> Self:
        peak = self.peak_activations if times else 0
        return type(self)(self.flops * times, self.params * times, self.activations * times, peak)

    def inference_bytes(self, *, element: int = 4) -> int:
        """Bytes that inference on one image needs at least, with `element` bytes a number (float32:
        4).
        """
        return (self.params + self.peak_activations) * element


NOTHING = Cost(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class StageCost:
    """One row of `phinas describe`: `name` is stem, 1..n, head; `side` is the output's pixels of a
    side.
    """

    name: str
    side: int
    width: int
    cost: Cost


def conv_cost(conv: Conv, side: int, *, held: int = 0) -> Cost:
    """Cost of one convolution whose *output* has `side` pixels of a side (1 where it works on the
    pooled map).

    held: elements that are alive beside its output while it works, its input among them.
    """
    pixels = 1 if conv.pooled else side * side
    weights = conv.kernel * conv.kernel * (conv.in_width // conv.groups) * conv.out_width
    extra = 2 * conv.out_width if conv.norm else conv.out_width
    out = conv.out_width * pixels
    return Cost(weights * pixels, weights + extra, out, held + out)


def block_cost(block: Block, in_width: int, side: int) -> Cost:
    """Cost of a block that takes a map of `in_width` channels and `side` pixels of a side."""
    total = NOTHING
    entry = alive = in_width * side * side  # elements of its input, and of the map at hand
    in_side = side
    for position, conv in enumerate(block.convs):
        side = reduced(side, conv.stride)
        kept = entry if block.shortcut and position else 0
        held = alive + kept + (conv.in_width if conv.pooled else 0)
        total = total + conv_cost(conv, side, held=held)
        if not conv.pooled:
            alive = conv.out_width * side * side
    if block.projection:
        side = reduced(in_side, block.projection.stride)
        total = total + conv_cost(block.projection, side, held=entry + alive)
    return total


@lru_cache(maxsize=1 << 16)
def stage_cost(stage: StageSpec, in_width: int, side: int) -> Cost:
    """Cost of a stage that takes a map of `in_width` channels and `side` pixels of a side."""
    if stage.block == "identity":
        return NOTHING
    # The network's activation has no cost, so its name does not matter here.
    first = block_cost(
        lower_block(stage, in_width=in_width, first=True, activation=""), in_width, side
    )
    if stage.depth == 1:
        return first
    return first + _repeated_cost(stage, reduced(side, stage.stride)) * (stage.depth - 1)


@lru_cache(maxsize=1 << 14)
def _repeated_cost(stage: StageSpec, side: int) -> Cost:
    """Cost of each block after the first: the same whatever map comes to the stage, as long as its
    side is.
    """
    return block_cost(
        lower_block(stage, in_width=stage.width, first=False, activation=""), stage.width, side
    )


@lru_cache(maxsize=1 << 12)
def _stem_cost(stem: Conv, resolution: int, pool: bool) -> tuple[Cost, int]:
    side = reduced(resolution, stem.stride)
    total = conv_cost(stem, side, held=stem.in_width * resolution**2)
    if not pool:
        return total, side
    pooled = reduced(side, 2)
    return total + Cost(0, 0, 0, stem.out_width * (side**2 + pooled**2)), pooled


@lru_cache(maxsize=1 << 16)
def _head_cost(in_width: int, head_width: int, classes: int, side: int) -> Cost:
    total, width = NOTHING, in_width
    if head_width:
        total, width = (
            conv_cost(Conv("head", in_width, head_width), side, held=in_width * side**2),
            head_width,
        )
    pooling = Cost(0, 0, 0, width * side**2 + width)
    return total + pooling + Cost(width * classes, (width + 1) * classes, classes, width + classes)


def stem_cost(spec: ArchSpec) -> tuple[Cost, int]:
    """Cost of the stem with its pooling, and the side of the map that it hands on."""
    return _stem_cost(lower_stem(spec), spec.resolution, spec.stem_pool)


def head_cost(spec: ArchSpec, in_width: int, side: int) -> Cost:
    """Cost of the head convolution, global pooling and classifier on a map of `in_width` channels
    and `side` pixels.
    """
    return _head_cost(in_width, spec.head_width, spec.classes, side)


def _walk(spec: ArchSpec) -> Iterator[tuple[int, int, Cost]]:
    """Stem, stages and head: side and width of the output, cost."""
    price, side = stem_cost(spec)
    width = spec.stem_width
    yield side, width, price
    for stage in spec.stages:
        price = stage_cost(stage, width, side)
        if stage.block != "identity":
            side, width = reduced(side, stage.stride), stage.width
        yield side, width, price
    yield 1, spec.classes, head_cost(spec, width, side)


def stage_costs(spec: ArchSpec) -> list[StageCost]:
    """The cost of stem, each stage and head in order; their sum is `cost(spec)`."""
    names = ("stem", *map(str, range(1, len(spec.stages) + 1)), "head")
    return [StageCost(name, *row) for name, row in zip(names, _walk(spec), strict=True)]


def cost(spec: ArchSpec) -> Cost:
    """FLOPs (multiply-adds), parameters, activations and peak activations of `spec` for one image,
    exactly.
    """
    flops = params = activations = peak = 0
    for _, _, part in _walk(spec):
        flops += part.flops
        params += part.params
        activations += part.activations
        peak = max(peak, part.peak_activations)
    return Cost(flops, params, activations, peak)
