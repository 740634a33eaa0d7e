"""The bottleneck block of ResNet-50 and deeper (arXiv:1512.03385)."""

from phinas.space.block_kinds.block import Block, BlockKind, BlockSettings, Conv, residual_block


def _lower(settings: BlockSettings) -> Block:
    """Reduce 1x1, k x k, restore 1x1, activation after the addition.

    The k x k convolution has the stride ("ResNet v1.5", as in torchvision and timm), where the
    paper's first 1x1 convolution has it.
    """
    hidden = max(1, int(settings.width / settings.expansion))
    kernel, stride, activation = settings.kernel, settings.stride, settings.activation
    return residual_block(
        settings,
        Conv("reduce", settings.in_width, hidden, activation=activation),
        Conv("conv", hidden, hidden, kernel, stride, activation=activation),
        Conv("restore", hidden, settings.width),
    )


BOTTLENECK = BlockKind(
    ("Bottleneck", "Btl", "B"),
    _lower,
    outline="waist",
    projects_shortcut=True,
    expansion_prefix="1/",
)
