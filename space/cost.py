"""What a network costs, in closed form and without torch.

Convention: FLOPs are *multiply-adds of convolutions and the classifier, per image*, the papers'
FLOPS and the `conv` + `linear` part of fvcore. Not counted: batch norm, activations, pooling, the
multiplication and addition of SE and shortcut (about 4% on B0). Activations are output elements of
convolutions and classifier (Dollar et al., arXiv:2103.06877). Parameters are all trainable ones.

Peak activations are the elements in memory at the worst step of inference: the input and the output
of the running layer, and the maps kept for later (a shortcut, a map that waits for its gate). Batch
norms are folded into their convolutions; activations, gates and additions are done in place. Peak
activations plus parameters, times the bytes of an element, is the minimum memory of inference.

For batches of a search space's choices: `search_spaces.cost_tables`. What other tools count:
`flop_conventions`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from phinas.space.layers import Block, Conv, lower_block, lower_stem, output_resolution
from phinas.space.network_fields import NetworkFields
from phinas.space.stage_spec import StageSpec


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a network or of a part of it, for one image. Parts that run one after another add
    up, except for the peak.

    Attributes:
        flops: multiply-adds.
        params: trainable numbers.
        activations: output elements of convolutions and classifier.
        peak_activations: elements in memory at one time.
    """

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

    def __mul__(self, count: int) -> Self:
        peak = self.peak_activations if count else 0
        return type(self)(self.flops * count, self.params * count, self.activations * count, peak)

    def inference_bytes(self, *, bytes_per_element: int = 4) -> int:
        """The least memory that inference on one image needs, in bytes; float32 has 4 per
        element.
        """
        return (self.params + self.peak_activations) * bytes_per_element


ZERO_COST = Cost(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of one stage: stem, 1..n or head. Resolution and width are the output's."""

    name: str
    resolution: int
    width: int
    cost: Cost


def conv_cost(conv: Conv, resolution: int, *, live_elements: int = 0) -> Cost:
    """Cost of one convolution.

    Args:
        conv: the convolution.
        resolution: resolution of its *output*; ignored if it works on the pooled map.
        live_elements: elements in memory besides its output while it runs, its input included.
    """
    pixels = 1 if conv.pooled_input else resolution * resolution
    weights = conv.kernel * conv.kernel * (conv.in_width // conv.groups) * conv.out_width
    norm_or_bias = 2 * conv.out_width if conv.norm else conv.out_width
    out_elements = conv.out_width * pixels
    return Cost(
        weights * pixels, weights + norm_or_bias, out_elements, live_elements + out_elements
    )


def block_cost(block: Block, in_width: int, resolution: int) -> Cost:
    """Cost of a block that takes a map of `in_width` channels at `resolution`."""
    cost = ZERO_COST
    # Elements of the block's input, and of the current feature map.
    input_elements = map_elements = in_width * resolution * resolution
    in_resolution = resolution
    for position, conv in enumerate(block.convs):
        resolution = output_resolution(resolution, conv.stride)
        shortcut_elements = input_elements if block.shortcut and position else 0
        live_elements = (
            map_elements + shortcut_elements + (conv.in_width if conv.pooled_input else 0)
        )
        cost = cost + conv_cost(conv, resolution, live_elements=live_elements)
        if not conv.pooled_input:
            map_elements = conv.out_width * resolution * resolution
    if block.projection:
        resolution = output_resolution(in_resolution, block.projection.stride)
        cost = cost + conv_cost(
            block.projection, resolution, live_elements=input_elements + map_elements
        )
    return cost


@lru_cache(maxsize=1 << 16)
def stage_cost(stage: StageSpec, in_width: int, resolution: int) -> Cost:
    """Cost of a stage that takes a map of `in_width` channels at `resolution`."""
    if stage.block == "identity":
        return ZERO_COST
    # The network's activation has no cost, so its name does not matter here.
    first_block_cost = block_cost(
        lower_block(stage, in_width=in_width, first=True, activation=""), in_width, resolution
    )
    if stage.depth == 1:
        return first_block_cost
    return first_block_cost + _repeated_block_cost(
        stage, output_resolution(resolution, stage.stride)
    ) * (stage.depth - 1)


@lru_cache(maxsize=1 << 14)
def _repeated_block_cost(stage: StageSpec, resolution: int) -> Cost:
    """Cost of each block after the first: the same for any input of the stage that has the same
    resolution.
    """
    return block_cost(
        lower_block(stage, in_width=stage.width, first=False, activation=""),
        stage.width,
        resolution,
    )


@lru_cache(maxsize=1 << 12)
def _stem_cost(stem: Conv, in_resolution: int, pool: bool) -> tuple[Cost, int]:
    resolution = output_resolution(in_resolution, stem.stride)
    cost = conv_cost(stem, resolution, live_elements=stem.in_width * in_resolution**2)
    if not pool:
        return cost, resolution
    pooled_resolution = output_resolution(resolution, 2)
    return cost + Cost(
        0, 0, 0, stem.out_width * (resolution**2 + pooled_resolution**2)
    ), pooled_resolution


@lru_cache(maxsize=1 << 16)
def _head_cost(in_width: int, head_width: int, classes: int, resolution: int) -> Cost:
    cost, width = ZERO_COST, in_width
    if head_width:
        cost, width = (
            conv_cost(
                Conv("head", in_width, head_width),
                resolution,
                live_elements=in_width * resolution**2,
            ),
            head_width,
        )
    pooling_cost = Cost(0, 0, 0, width * resolution**2 + width)
    return (
        cost + pooling_cost + Cost(width * classes, (width + 1) * classes, classes, width + classes)
    )


def stem_cost(spec: NetworkFields) -> tuple[Cost, int]:
    """Cost of the stem with its pooling, and the resolution of its output."""
    return _stem_cost(lower_stem(spec), spec.resolution, spec.stem_pool)


def head_cost(spec: NetworkFields, in_width: int, resolution: int) -> Cost:
    """Cost of the head convolution, global pooling and classifier on a map of `in_width` channels
    at `resolution`.
    """
    return _head_cost(in_width, spec.head_width, spec.classes, resolution)


def _iter_costs(spec: NetworkFields) -> Iterator[tuple[int, int, Cost]]:
    """Stem, stages and head: resolution and width of the output, cost."""
    cost, resolution = stem_cost(spec)
    width = spec.stem_width
    yield resolution, width, cost
    for stage in spec.stages:
        cost = stage_cost(stage, width, resolution)
        if stage.block != "identity":
            resolution, width = output_resolution(resolution, stage.stride), stage.width
        yield resolution, width, cost
    yield 1, spec.classes, head_cost(spec, width, resolution)


def stage_costs(spec: NetworkFields) -> list[StageCost]:
    """The cost of stem, each stage and head in order; their sum is the cost of the network."""
    names = ("stem", *map(str, range(1, len(spec.stages) + 1)), "head")
    return [StageCost(name, *row) for name, row in zip(names, _iter_costs(spec), strict=True)]


def network_cost(spec: NetworkFields) -> Cost:
    """The exact cost of `spec` for one image. `ArchSpec.cost` is its public form."""
    flops = params = activations = peak = 0
    for _, _, part_cost in _iter_costs(spec):
        flops += part_cost.flops
        params += part_cost.params
        activations += part_cost.activations
        peak = max(peak, part_cost.peak_activations)
    return Cost(flops, params, activations, peak)
