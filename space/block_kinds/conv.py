"""One k x k convolution without a shortcut."""

from phinas.space.block_kinds.block import Block, BlockKind, BlockSettings, Conv


def _lower(settings: BlockSettings) -> Block:
    conv = Conv(
        "conv",
        settings.in_width,
        settings.width,
        settings.kernel,
        settings.stride,
        activation=settings.activation,
    )
    return Block((conv,), shortcut=False)


CONV = BlockKind(("Convolution", "Conv", "C"), _lower, unused_fields=("expansion", "se", "skip"))
