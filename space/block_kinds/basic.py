"""The basic block of ResNet-18 and ResNet-34 (arXiv:1512.03385)."""

from phinas.space.block_kinds.block import Block, BlockKind, BlockSettings, Conv, residual_block


def _lower(settings: BlockSettings) -> Block:
    """Two k x k convolutions, activation after the addition; the first has the stride."""
    width, kernel, activation = settings.width, settings.kernel, settings.activation
    return residual_block(
        settings,
        Conv("conv1", settings.in_width, width, kernel, settings.stride, activation=activation),
        Conv("conv2", width, width, kernel),
    )


BASIC = BlockKind(
    ("Basic block", "Basic", "Bas"),
    _lower,
    unused_fields=("expansion",),
    outline="halves",
    projects_shortcut=True,
)
