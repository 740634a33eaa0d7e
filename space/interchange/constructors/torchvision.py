"""torchvision's classes: EfficientNet, MobileNetV2, MNASNet and ResNet. All of their stems take 3
channels.
"""

from phinas.space.interchange.constructors.requirements import (
    IMPORTS,
    Constructor,
    adds_where_it_can,
    bottlenecks_of,
    demand,
    hold,
    norm_layer,
    stages_of,
    whole,
    widths_of,
    written,
)
from phinas.space.layers import Block
from phinas.space.scaling import round_width
from phinas.space.spec import ArchSpec, SpecError, StageSpec

_STEM = {
    "channels": 3,
    "stem_kernel": 3,
    "stem_stride": 2,
    "stem_pool": False,
    "padding": "symmetric",
}
_EVERYWHERE = "it has shortcuts wherever shapes agree"

# Of MNASNet: width, kernel, stride, expansion and depth at alpha 1.
_MNASNET = (
    (16, 3, 1, 1, 1),
    (24, 3, 2, 3, 3),
    (40, 5, 2, 3, 3),
    (80, 5, 2, 6, 3),
    (96, 3, 1, 6, 2),
    (192, 5, 2, 6, 4),
    (320, 3, 1, 6, 1),
)


def efficientnet(spec: ArchSpec) -> Constructor:
    hold(spec, _STEM | {"activation": "silu"})
    if not spec.head_width:
        raise SpecError("head_width: 0, and it has a head convolution")
    rows = []
    for number, stage, blocks in stages_of(spec):
        ratio = 1 if stage.block == "conv" else whole(stage.expansion)
        for block in blocks:
            _check_efficientnet_block(block, stage, ratio, number)
        entry = widths_of(blocks[0])["entry"]
        kind = "MBConvConfig" if stage.block == "mbconv" else "FusedMBConvConfig"
        rows.append([kind, ratio, stage.kernel, stage.stride, entry, stage.width, stage.depth])
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
        f"model = EfficientNet(blocks, {written(arguments)}, {norm_layer(spec)})",
    )
    return Constructor("torchvision.EfficientNet", {"blocks": rows, **arguments}, lines)


def _check_efficientnet_block(block: Block, stage: StageSpec, ratio: float, number: int) -> None:
    widths, roles = widths_of(block), tuple(conv.role for conv in block.convs)
    entry, hidden = widths["entry"], round_width(widths["entry"] * ratio)
    grown = ("expand",) if hidden != entry else ()
    separable = (*grown, "depthwise", "squeeze", "excite", "project")
    fused = (*grown, "project") if grown else ("conv",)
    demand(
        roles in (separable, fused),
        number,
        "it has MBConv with squeeze-and-excitation and Fused-MBConv without",
    )
    demand(widths.get("expand", hidden) == hidden, number, "it has hidden widths in multiples of 8")
    demand(adds_where_it_can(block), number, _EVERYWHERE)
    if roles == separable:
        demand(widths["squeeze"] == max(1, entry // 4), number, f"se {stage.se:g}, and it has 0.25")
        demand(entry % 8 == 0 and stage.width % 8 == 0, number, "it has widths in multiples of 8")


def mobilenet_v2(spec: ArchSpec) -> Constructor:
    hold(spec, _STEM | {"activation": "relu6"})
    share, divisor = _mobilenet_share(spec)
    rows = []
    for number, stage, blocks in stages_of(spec):
        plain = stage.block == "mbconv" and not stage.se and stage.kernel == 3
        demand(plain, number, "it has MBConv of kernel 3 without squeeze-and-excitation")
        for block in blocks:
            widths = widths_of(block)
            hidden = round(widths["entry"] * stage.expansion)
            exact = widths["depthwise"] == hidden and (stage.expansion != 1) == ("expand" in widths)
            demand(
                exact,
                number,
                f"expansion {stage.expansion:g} makes {hidden} hidden channels of "
                f"{widths['entry']} there",
            )
            demand(adds_where_it_can(block), number, _EVERYWHERE)
        rows.append([whole(stage.expansion), whole(stage.width / share), stage.depth, stage.stride])
    arguments = {
        "num_classes": spec.classes,
        "width_mult": share,
        "inverted_residual_setting": rows,
        "round_nearest": divisor,
        "dropout": spec.dropout,
    }
    lines = (
        *IMPORTS,
        "from torchvision.models.mobilenetv2 import MobileNetV2",
        f"model = MobileNetV2({written(arguments)}, {norm_layer(spec)})",
    )
    return Constructor("torchvision.MobileNetV2", arguments, lines)


def _mobilenet_share(spec: ArchSpec) -> tuple[float, int]:
    """The number that MobileNetV2 multiplies its widths by, and the divisor that it rounds them
    to.
    """
    for share in (1.0, spec.head_width / 1280, spec.stem_width / 32):
        for divisor in (8, 1):
            stem = round_width(32 * share, divisor=divisor)
            head = round_width(1280 * max(1.0, share), divisor=divisor)
            kept = all(
                round_width(stage.width, divisor=divisor) == stage.width for stage in spec.stages
            )
            if share and (stem, head, kept) == (spec.stem_width, spec.head_width, True):
                return share, divisor
    widths = f"{spec.stem_width}, {spec.head_width}"
    raise SpecError(
        f"stem_width, head_width: {widths}, and it has 32 and 1280, both times one number (1280 "
        "at least)"
    )


def mnasnet(spec: ArchSpec) -> Constructor:
    hold(spec, _STEM | {"activation": "relu", "bn_eps": 1e-5, "head_width": 1280})
    widths, bases = (
        [spec.stem_width, *(stage.width for stage in spec.stages)],
        [32, *(row[0] for row in _MNASNET)],
    )
    if len(widths) != len(bases):
        raise SpecError(f"stages: {len(spec.stages)}, and it has 7")
    shares = [
        0.5,
        0.75,
        1.0,
        1.3,
        *(width / base for width, base in zip(widths, bases, strict=True)),
    ]
    share = next(
        (share for share in shares if [round_width(base * share) for base in bases] == widths), None
    )
    if share is None:
        raise SpecError(
            f"width: {widths}, and it has {bases} times one number, rounded to multiples of 8"
        )
    for (number, stage, blocks), (_, *wanted) in zip(stages_of(spec), _MNASNET, strict=True):
        demand(
            stage.block == "mbconv" and not stage.se,
            number,
            "it has MBConv without squeeze-and-excitation",
        )
        found = [stage.kernel, stage.stride, stage.expansion, stage.depth]
        demand(
            found == wanted,
            number,
            f"kernel, stride, expansion, depth: {found}, and it has {wanted}",
        )
        for block in blocks:
            added = adds_where_it_can(block) if number > 1 else not block.shortcut
            demand(added, number, f"{_EVERYWHERE} but in stage 1")
    arguments = {"alpha": share, "num_classes": spec.classes, "dropout": spec.dropout}
    lines = (
        "from torchvision.models.mnasnet import MNASNet",
        f"model = MNASNet({written(arguments)})",
    )
    return Constructor("torchvision.MNASNet", arguments, lines)


def resnet(spec: ArchSpec) -> Constructor:
    hold(spec, {"channels": 3, "activation": "relu"})
    rows = bottlenecks_of(spec)
    share = rows[0][0]
    for number, (hidden, width, _) in enumerate(rows, start=1):
        demand(width == 128 << number, number, f"width {width}, and it has {128 << number}")
        demand(
            hidden == share << (number - 1),
            number,
            "its hidden widths are one share of the widths everywhere",
        )
    arguments = {
        "layers": [depth for _, _, depth in rows],
        "num_classes": spec.classes,
        "width_per_group": share,
    }
    lines = (
        *IMPORTS,
        "from torchvision.models.resnet import Bottleneck, ResNet",
        f"model = ResNet(Bottleneck, {written(arguments)}, {norm_layer(spec)})",
    )
    return Constructor("ResNet", arguments, lines)
