"""The kinds of block, one module each: the only place that knows a block's arithmetic.

To add a kind, write its module and list it in BLOCK_KINDS. Specs, search spaces, modules, cost,
diagrams, ONNX and stand-alone files then have it.
"""

from phinas.space.block_kinds.basic import BASIC
from phinas.space.block_kinds.block import BlockKind
from phinas.space.block_kinds.bottleneck import BOTTLENECK
from phinas.space.block_kinds.conv import CONV
from phinas.space.block_kinds.fused_mbconv import FUSED_MBCONV
from phinas.space.block_kinds.mbconv import MBCONV
from phinas.space.block_kinds.separable import SEPARABLE

__all__ = ["BLOCK_KINDS", "BlockKind"]

# In this order they stand in error messages and in the legend of a diagram.
BLOCK_KINDS: dict[str, BlockKind] = {
    "mbconv": MBCONV,
    "fused_mbconv": FUSED_MBCONV,
    "bottleneck": BOTTLENECK,
    "basic": BASIC,
    "separable": SEPARABLE,
    "conv": CONV,
    # a layer that is left out
    "identity": BlockKind(
        ("left out", "out", ""),
        None,
        unused_fields=("width", "depth", "kernel", "expansion", "se", "skip", "activation"),
    ),
}
