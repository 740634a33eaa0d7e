"""The depthwise-separable convolution of MobileNetV1 (arXiv:1704.04861)."""

from phinas.space.block_kinds.block import Block, BlockKind, BlockSettings, Conv


def _lower(settings: BlockSettings) -> Block:
    """Depthwise, pointwise, an activation after each, no shortcut."""
    in_width, activation = settings.in_width, settings.activation
    depthwise = Conv(
        "depthwise",
        in_width,
        in_width,
        settings.kernel,
        settings.stride,
        groups=in_width,
        activation=activation,
    )
    pointwise = Conv("pointwise", in_width, settings.width, activation=activation)
    return Block((depthwise, pointwise), shortcut=False)


SEPARABLE = BlockKind(
    ("Depthwise-separable", "Separable", "Sep", "S"),
    _lower,
    unused_fields=("expansion", "se", "skip"),
    outline="diagonal",
)
