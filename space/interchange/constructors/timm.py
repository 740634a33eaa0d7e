"""timm's classes: EfficientNet, which covers most specs by block strings, and ResNet."""

from fractions import Fraction

from phinas.space.interchange.constructors.requirements import (
    IMPORTS,
    Constructor,
    as_int_if_whole,
    format_arguments,
    norm_layer,
    require,
    resnet_layout,
)
from phinas.space.interchange.timm_strings import to_block_strings, to_timm_arguments
from phinas.space.spec import ArchSpec


def efficientnet(spec: ArchSpec) -> Constructor:
    """timm's EfficientNet of that spec, or SpecError."""
    blocks, arguments = to_block_strings(spec), to_timm_arguments(spec)
    plain_arguments = {
        name: value for name, value in arguments.items() if not name.startswith("bn_")
    }
    lines = (
        *IMPORTS,
        "from timm.models._efficientnet_builder import decode_arch_def",
        "from timm.models.efficientnet import EfficientNet",
        f"blocks = {blocks!r}",
        f"arguments = dict({format_arguments(plain_arguments)})",
        "# By default timm would round the widths again.",
        f"arguments.update({norm_layer(spec)}, round_chs_fn=lambda channels: channels)",
        "model = EfficientNet(decode_arch_def(blocks), **arguments)",
    )
    return Constructor("timm.EfficientNet", {"blocks": blocks, **arguments}, lines)


def resnet(spec: ArchSpec) -> Constructor:
    """timm's ResNet of that spec, or SpecError."""
    layout = resnet_layout(spec)
    planes = [width // layout.expansion for width in layout.widths]
    base_width = Fraction(64 * layout.hidden_widths[0], planes[0])
    for number, (hidden, plane) in enumerate(
        zip(layout.hidden_widths, planes, strict=True), start=1
    ):
        require(
            int(plane * (float(base_width) / 64)) == hidden,
            number,
            "the class has one ratio of hidden width to width in all stages",
        )
    arguments = {
        "layers": list(layout.depths),
        "num_classes": spec.classes,
        "in_chans": spec.channels,
        "base_width": as_int_if_whole(float(base_width)),
        "channels": planes,
        "act_layer": spec.activation,
        "drop_rate": spec.dropout,
        # timm reaches the rate at the last block, phinas would reach it one block later.
        "drop_path_rate": spec.drop_path * (spec.depth - 1) / spec.depth,
    }
    lines = (
        *IMPORTS,
        f"from timm.models.resnet import {layout.block_class}, ResNet",
        f"model = ResNet({layout.block_class}, {format_arguments(arguments)}, {norm_layer(spec)})",
    )
    return Constructor("ResNet", arguments, lines)
