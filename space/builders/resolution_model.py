"""How the FLOPs of a traced network change with the resolution.

A layer's FLOPs are those of its output pixels. Most layers halve the resolution and round up, or
divide it by a patch size and round down, which the height of their output shows. Transformers have
a row for each patch and a few more, for tokens of the class or registers.
"""

import math
from collections.abc import Callable, Mapping

_MAX_EXTRA_TOKENS = 16


def flops_model(flops_by_size: Mapping[float, int], resolution: int) -> Callable[[int], float]:
    """The FLOPs at other resolutions in px: exact for most convolutional networks, else estimated.

    Args:
        flops_by_size: As of `phinas.space.builders.trace.Trace`.
        resolution: At which they were traced, in px.
    """
    layers = [
        (flops, size, _size_at(size, resolution)) for size, flops in flops_by_size.items() if size
    ]
    constant = flops_by_size.get(0.0, 0)

    def flops(other_resolution: int) -> float:
        # in whole numbers where the layers divide them, so that equal resolutions stay equal
        return constant + sum(
            count // round(size**2) * size_at(other_resolution) ** 2
            if count % round(size**2) == 0
            else count * (size_at(other_resolution) / size) ** 2
            for count, size, size_at in layers
        )

    return flops


def _size_at(size: float, resolution: int) -> Callable[[int], float]:
    """The size of an output at other resolutions."""
    rows = round(size**2)
    extra = rows - math.isqrt(rows) ** 2
    if size != round(size) and extra <= min(_MAX_EXTRA_TOKENS, rows // 2):
        patches_at = _size_at(float(math.isqrt(rows)), resolution)
        return lambda other: math.sqrt(patches_at(other) ** 2 + extra)
    ratio = resolution / size
    stride = 2 ** round(math.log2(ratio))
    if -(-resolution // stride) == size:
        return lambda other: -(-other // stride)
    patch = round(ratio)
    if patch and resolution // patch == size:
        return lambda other: other // patch
    return lambda other: other / ratio
