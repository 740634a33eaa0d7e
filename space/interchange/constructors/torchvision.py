"""torchvision's classes: EfficientNet, MobileNetV2, MNASNet and ResNet, all for 3 channels."""

from phinas.space.interchange.constructors.requirements import (
    IMPORTS,
    Constructor,
    as_int_if_whole,
    conv_widths,
    format_arguments,
    has_standard_shortcut,
    iter_stages,
    norm_layer,
    require,
    require_fields,
    resnet_layout,
)
from phinas.space.layers import Block
from phinas.space.scaling import round_width
from phinas.space.spec import ArchSpec, SpecError, StageSpec

_STEM_FIELDS = {
    "channels": 3,
    "stem_kernel": 3,
    "stem_stride": 2,
    "stem_pool": False,
    "padding": "symmetric",
}
_STANDARD_SHORTCUTS = "the class has shortcuts wherever shapes agree"

# Of MNASNet: width, kernel, stride, expansion and depth at alpha 1.
_MNASNET_STAGES = (
    (16, 3, 1, 1, 1),
    (24, 3, 2, 3, 3),
    (40, 5, 2, 3, 3),
    (80, 5, 2, 6, 3),
    (96, 3, 1, 6, 2),
    (192, 5, 2, 6, 4),
    (320, 3, 1, 6, 1),
)


def efficientnet(spec: ArchSpec) -> Constructor:
    """torchvision's EfficientNet of that spec, or SpecError."""
    require_fields(spec, _STEM_FIELDS | {"activation": "silu"})
    if not spec.head_width:
        raise SpecError("head_width: 0, the class has a head convolution")
    rows = []
    for number, stage, blocks in iter_stages(spec):
        expansion = 1 if stage.block == "conv" else as_int_if_whole(stage.expansion)
        for block in blocks:
            _check_efficientnet_block(block, stage, expansion, number)
        entry = conv_widths(blocks[0])["entry"]
        kind = "MBConvConfig" if stage.block == "mbconv" else "FusedMBConvConfig"
        rows.append([kind, expansion, stage.kernel, stage.stride, entry, stage.width, stage.depth])
    arguments = {
        "dropout": spec.dropout,
        "stochastic_depth_prob": spec.drop_path,
        "num_classes": spec.classes,
        "last_channel": spec.head_width,
    }
    calls = [f"{kind}{tuple(numbers)!r}" for kind, *numbers in rows]
    lines = (
        *IMPORTS,
        "from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig",
        f"blocks = [{', '.join(calls)}]",
        f"model = EfficientNet(blocks, {format_arguments(arguments)}, {norm_layer(spec)})",
    )
    return Constructor("torchvision.EfficientNet", {"blocks": rows, **arguments}, lines)


def _check_efficientnet_block(
    block: Block, stage: StageSpec, expansion: float, number: int
) -> None:
    widths, conv_names = conv_widths(block), tuple(conv.name for conv in block.convs)
    entry, hidden = widths["entry"], round_width(widths["entry"] * expansion)
    expand = ("expand",) if hidden != entry else ()
    mbconv = (*expand, "depthwise", "squeeze", "excite", "project")
    fused_mbconv = (*expand, "project") if expand else ("conv",)
    require(
        conv_names in (mbconv, fused_mbconv),
        number,
        "the class has MBConv with squeeze-and-excitation and Fused-MBConv without",
    )
    require(
        widths.get("expand", hidden) == hidden,
        number,
        "the class has hidden widths in multiples of 8",
    )
    require(has_standard_shortcut(block), number, _STANDARD_SHORTCUTS)
    if conv_names == mbconv:
        require(
            widths["squeeze"] == max(1, entry // 4), number, f"se {stage.se:g}, the class has 0.25"
        )
        require(
            entry % 8 == 0 and stage.width % 8 == 0,
            number,
            "the class has widths in multiples of 8",
        )


def mobilenet_v2(spec: ArchSpec) -> Constructor:
    """torchvision's MobileNetV2 of that spec, or SpecError."""
    require_fields(spec, _STEM_FIELDS | {"activation": "relu6"})
    width_multiplier, divisor = _mobilenet_width_multiplier(spec)
    rows = []
    for number, stage, blocks in iter_stages(spec):
        is_plain = stage.block == "mbconv" and not stage.se and stage.kernel == 3
        require(is_plain, number, "the class has MBConv of kernel 3 without squeeze-and-excitation")
        for block in blocks:
            widths = conv_widths(block)
            hidden = round(widths["entry"] * stage.expansion)
            hidden_matches = widths["depthwise"] == hidden and (stage.expansion != 1) == (
                "expand" in widths
            )
            require(
                hidden_matches,
                number,
                f"the class has {hidden} hidden channels at expansion {stage.expansion:g} of "
                f"{widths['entry']}",
            )
            require(has_standard_shortcut(block), number, _STANDARD_SHORTCUTS)
        rows.append(
            [
                as_int_if_whole(stage.expansion),
                as_int_if_whole(stage.width / width_multiplier),
                stage.depth,
                stage.stride,
            ]
        )
    arguments = {
        "num_classes": spec.classes,
        "width_mult": width_multiplier,
        "inverted_residual_setting": rows,
        "round_nearest": divisor,
        "dropout": spec.dropout,
    }
    lines = (
        *IMPORTS,
        "from torchvision.models.mobilenetv2 import MobileNetV2",
        f"model = MobileNetV2({format_arguments(arguments)}, {norm_layer(spec)})",
    )
    return Constructor("torchvision.MobileNetV2", arguments, lines)


def _mobilenet_width_multiplier(spec: ArchSpec) -> tuple[float, int]:
    """The number that MobileNetV2 multiplies its widths by, and the divisor that it rounds them
    to.
    """
    for width_multiplier in (1.0, spec.head_width / 1280, spec.stem_width / 32):
        for divisor in (8, 1):
            stem = round_width(32 * width_multiplier, divisor=divisor)
            head = round_width(1280 * max(1.0, width_multiplier), divisor=divisor)
            widths_match = all(
                round_width(stage.width, divisor=divisor) == stage.width for stage in spec.stages
            )
            if width_multiplier and (stem, head, widths_match) == (
                spec.stem_width,
                spec.head_width,
                True,
            ):
                return width_multiplier, divisor
    widths = f"{spec.stem_width}, {spec.head_width}"
    raise SpecError(
        f"stem_width, head_width: {widths}, the class has 32 and 1280 times one factor (1280 at "
        "least)"
    )


def mnasnet(spec: ArchSpec) -> Constructor:
    """torchvision's MNASNet of that spec, or SpecError."""
    require_fields(spec, _STEM_FIELDS | {"activation": "relu", "bn_eps": 1e-5, "head_width": 1280})
    widths, bases = (
        [spec.stem_width, *(stage.width for stage in spec.stages)],
        [32, *(row[0] for row in _MNASNET_STAGES)],
    )
    if len(widths) != len(bases):
        raise SpecError(f"stages: {len(spec.stages)}, the class has 7")
    alphas = [
        0.5,
        0.75,
        1.0,
        1.3,
        *(width / base for width, base in zip(widths, bases, strict=True)),
    ]
    alpha = next(
        (alpha for alpha in alphas if [round_width(base * alpha) for base in bases] == widths), None
    )
    if alpha is None:
        raise SpecError(
            f"width: {widths}, the class has {bases} times one factor, rounded to multiples of 8"
        )
    for (number, stage, blocks), (_, *expected) in zip(
        iter_stages(spec), _MNASNET_STAGES, strict=True
    ):
        require(
            stage.block == "mbconv" and not stage.se,
            number,
            "the class has MBConv without squeeze-and-excitation",
        )
        actual = [stage.kernel, stage.stride, stage.expansion, stage.depth]
        require(
            actual == expected,
            number,
            f"kernel, stride, expansion, depth: {actual}, the class has {expected}",
        )
        for block in blocks:
            shortcuts_match = has_standard_shortcut(block) if number > 1 else not block.shortcut
            require(shortcuts_match, number, f"{_STANDARD_SHORTCUTS}, except in stage 1")
    arguments = {"alpha": alpha, "num_classes": spec.classes, "dropout": spec.dropout}
    lines = (
        "from torchvision.models.mnasnet import MNASNet",
        f"model = MNASNet({format_arguments(arguments)})",
    )
    return Constructor("torchvision.MNASNet", arguments, lines)


def resnet(spec: ArchSpec) -> Constructor:
    """torchvision's ResNet of that spec, or SpecError."""
    require_fields(spec, {"channels": 3, "activation": "relu"})
    layout = resnet_layout(spec)
    width_per_group = layout.hidden_widths[0]
    rows = zip(layout.hidden_widths, layout.widths, strict=True)
    for number, (hidden, width) in enumerate(rows, start=1):
        expected = 64 * layout.expansion << (number - 1)
        require(width == expected, number, f"width {width}, the class has {expected}")
        require(
            hidden == width_per_group << (number - 1),
            number,
            "the class has one ratio of hidden width to width in all stages",
        )
    arguments = {
        "layers": list(layout.depths),
        "num_classes": spec.classes,
        "width_per_group": width_per_group,
    }
    lines = (
        *IMPORTS,
        f"from torchvision.models.resnet import {layout.block_class}, ResNet",
        f"model = ResNet({layout.block_class}, {format_arguments(arguments)}, {norm_layer(spec)})",
    )
    return Constructor("ResNet", arguments, lines)
