"""timm's classes: EfficientNet, which is built from strings and takes most specs, and ResNet."""

from fractions import Fraction

from phinas.space.interchange.constructors.requirements import (
    IMPORTS,
    Constructor,
    as_int_if_whole,
    bottleneck_stages,
    format_arguments,
    norm_layer,
    require,
)
from phinas.space.interchange.timm_strings import to_block_strings, to_timm_arguments
from phinas.space.spec import ArchSpec


def efficientnet(spec: ArchSpec) -> Constructor:
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
        "# Left alone, timm would round the widths once more.",
        f"arguments.update({norm_layer(spec)}, round_chs_fn=lambda channels: channels)",
        "model = EfficientNet(decode_arch_def(blocks), **arguments)",
    )
    return Constructor("timm.EfficientNet", {"blocks": blocks, **arguments}, lines)


def resnet(spec: ArchSpec) -> Constructor:
    rows = bottleneck_stages(spec)
    planes = [width // 4 for _, width, _ in rows]
    base_width = Fraction(64 * rows[0][0], planes[0])
    for number, ((hidden, _, _), plane) in enumerate(zip(rows, planes, strict=True), start=1):
        require(
            int(plane * (float(base_width) / 64)) == hidden,
            number,
            "its hidden widths are one share of the widths everywhere",
        )
    arguments = {
        "layers": [depth for _, _, depth in rows],
        "num_classes": spec.classes,
        "in_chans": spec.channels,
        "base_width": as_int_if_whole(float(base_width)),
        "channels": planes,
        "act_layer": spec.activation,
        "drop_rate": spec.dropout,
        # timm reaches the rate at the last block, this project would one block later.
        "drop_path_rate": spec.drop_path * (spec.depth - 1) / spec.depth,
    }
    lines = (
        *IMPORTS,
        "from timm.models.resnet import Bottleneck, ResNet",
        f"model = ResNet(Bottleneck, {format_arguments(arguments)}, {norm_layer(spec)})",
    )
    return Constructor("ResNet", arguments, lines)
