"""Fused-MBConv of EfficientNetV2 (arXiv:2104.00298)."""

from phinas.space.block_kinds.block import Block, BlockKind, BlockSettings, Conv, squeeze_excite


def _lower(settings: BlockSettings) -> Block:
    """Expand k x k, squeeze-and-excitation, project 1x1; at expansion 1 one k x k convolution."""
    in_width, activation = settings.in_width, settings.activation
    hidden = int(in_width * settings.expansion)
    kernel, stride = settings.kernel, settings.stride
    shortcut = settings.skip and settings.keeps_shape
    if hidden == in_width:
        conv = Conv("conv", in_width, settings.width, kernel, stride, activation=activation)
        return Block((conv, *squeeze_excite(settings.width, settings)), shortcut)
    convs = (
        Conv("expand", in_width, hidden, kernel, stride, activation=activation),
        *squeeze_excite(hidden, settings),
        Conv("project", hidden, settings.width),
    )
    return Block(convs, shortcut)


FUSED_MBCONV = BlockKind(("Fused-MBConv", "Fused", "F"), _lower, outline="narrowing")
