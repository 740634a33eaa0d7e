"""MBConv of MobileNetV2 (arXiv:1801.04381), with squeeze-and-excitation as in MnasNet
(arXiv:1807.11626) and EfficientNet (arXiv:1905.11946).
"""

from phinas.space.block_kinds.block import Block, BlockKind, BlockSettings, Conv, squeeze_excite


def _lower(settings: BlockSettings) -> Block:
    """Expand 1x1, depthwise, squeeze-and-excitation, project 1x1.

    At expansion 1 without squeeze-and-excitation it is a depthwise-separable convolution.
    """
    in_width, activation = settings.in_width, settings.activation
    hidden = int(in_width * settings.expansion)
    convs = [Conv("expand", in_width, hidden, activation=activation)] if hidden != in_width else []
    convs += [
        Conv(
            "depthwise",
            hidden,
            hidden,
            settings.kernel,
            settings.stride,
            groups=hidden,
            activation=activation,
        ),
        *squeeze_excite(hidden, settings),
        Conv("project", hidden, settings.width),
    ]
    return Block(tuple(convs), shortcut=settings.skip and settings.keeps_shape)


MBCONV = BlockKind(("MBConv", "MB"), _lower, outline="widening")
