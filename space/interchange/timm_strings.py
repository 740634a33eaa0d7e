"""Networks as timm's block strings ("ir_r2_k3_s2_e6_c24_se0.25"). `timm_reader` parses them.

    ds   depthwise, project: mbconv at expansion 1       er   fused_mbconv with its projection
    ir   mbconv                                          cn   one convolution: fused_mbconv at
                                                              expansion 1 with skip, else conv
    dsa  separable

r blocks, k kernel, s stride of the first, e expansion, c output width, se squeeze width over input
width, n activation (re, r6, hs, sw); noskip, and skip for a cn.

The main decision: timm rounds products (hidden widths to multiples of 8 by the official
rule, squeeze widths to the nearest), phinas truncates them. A number is written as in the spec only
if both give the same widths; otherwise the ratio is written that does, and if there is none, the
spec is refused. Strings are in lists of lists, timm's stages. Each string of a list is one stage of
a spec.
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any

from phinas.space.layers import Block, lower
from phinas.space.scaling import round_width
from phinas.space.spec import ArchSpec, SpecError, StageSpec

# The convolutions of a block, without squeeze-and-excitation, and its name in timm.
_BLOCK_CODES = {
    ("depthwise", "project"): "ds",
    ("expand", "depthwise", "project"): "ir",
    ("expand", "project"): "er",
    ("conv",): "cn",
    ("depthwise", "pointwise"): "dsa",
}
ACTIVATION_CODES = {"re": "relu", "r6": "relu6", "hs": "hard_swish", "sw": "silu"}
_CODE_OF_ACTIVATION = {name: code for code, name in ACTIVATION_CODES.items()}

# Keyword arguments of timm's EfficientNet (bn_* as in timm.create_model), and timm's defaults.
TIMM_DEFAULTS: dict[str, Any] = {
    "num_classes": 1000,
    "num_features": 1280,
    "in_chans": 3,
    "stem_size": 32,
    "stem_kernel_size": 3,
    "output_stride": 32,
    "pad_type": "",
    "act_layer": "relu",
    "bn_eps": 1e-5,
    "bn_momentum": 0.1,
    "drop_rate": 0.0,
    "drop_path_rate": 0.0,
}
PAD_TYPES = {"": "symmetric", "same": "same"}


def format_number(value: float) -> str:
    """6 for 6.0, and all digits of other numbers."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def squeeze_width(hidden: int, se: float, expansion: float) -> int:
    """timm's width between squeeze and excite."""
    return round(hidden * (se / expansion))


def to_block_strings(spec: ArchSpec) -> list[list[str]]:
    """The stages of `spec` as timm's strings.

    Raises:
        SpecError: timm's blocks cannot describe the network.
    """
    spec = spec.canonicalize()
    if spec.stem_stride != 2 or spec.stem_pool:
        raise SpecError(
            "stem_stride, stem_pool: timm's EfficientNet has only stems of stride 2 without pooling"
        )
    block_strings: list[list[str]] = []
    for index, (stage, blocks) in enumerate(
        zip(spec.stages, lower(spec).stages, strict=True), start=1
    ):
        stride = stage.stride
        block_strings.append([])
        for (kind, parameters), run_of_blocks in groupby(
            blocks, key=partial(_block_code, stage=stage, number=index)
        ):
            equal_blocks = list(run_of_blocks)
            suffix = _suffix(kind, stage, equal_blocks)
            block_strings[-1].append(
                f"{kind}_r{len(equal_blocks)}_k{stage.kernel}_s{stride}{parameters}{suffix}"
            )
            stride = 1
    return block_strings


def _suffix(kind: str, stage: StageSpec, blocks: Sequence[Block]) -> str:
    """The skip flag, where timm's default differs (a cn has no shortcut; ds, ir and er have one
    wherever shapes agree), and the stage's activation.
    """
    skip_flag = ""
    if kind == "cn":
        skip_flag = "_skip" if stage.block == "fused_mbconv" and stage.skip else ""
    elif kind != "dsa":
        skip_flag = (
            "_noskip"
            if any(_shapes_match(block) and not block.shortcut for block in blocks)
            else ""
        )
    return skip_flag + (f"_n{_CODE_OF_ACTIVATION[stage.activation]}" if stage.activation else "")


def _shapes_match(block: Block) -> bool:
    """Whether the input could be added to the output."""
    return (
        all(conv.stride == 1 for conv in block.convs)
        and block.convs[0].in_width == block.convs[-1].out_width
    )


def _block_code(block: Block, stage: StageSpec, number: int) -> tuple[str, str]:
    """Kind of block, and the numbers after the stride in its string."""
    prefix = f"stage {number}"
    conv_names = tuple(conv.name for conv in block.convs if not conv.pooled_input)
    if conv_names not in _BLOCK_CODES:
        raise SpecError(
            f"{prefix}: block {stage.block!r} has no block string in timm (its ResNet has others)"
        )
    kind, in_width = _BLOCK_CODES[conv_names], block.convs[0].in_width
    parameters, hidden, expansion = "", in_width, 1.0
    if kind in ("ir", "er"):
        hidden = block.convs[0].out_width
        expansions = [
            ratio
            for ratio in (stage.expansion, hidden / in_width)
            if round_width(in_width * ratio) == hidden
        ]
        if not expansions:
            raise SpecError(
                f"{prefix}: expansion {stage.expansion:g} gives {hidden} hidden channels, timm has "
                "multiples of 8"
            )
        expansion = expansions[0]
        parameters += f"_e{format_number(expansion)}"
    parameters += f"_c{stage.width}"
    squeeze_channels = next((conv.out_width for conv in block.convs if conv.name == "squeeze"), 0)
    if squeeze_channels and kind == "cn":
        raise SpecError(
            f"{prefix}: se {stage.se:g} after a single convolution, timm's cn has none; set se to 0"
        )
    if squeeze_channels:
        ratios = (stage.se, squeeze_channels / in_width, squeeze_channels * expansion / hidden)
        se = next(
            ratio for ratio in ratios if squeeze_width(hidden, ratio, expansion) == squeeze_channels
        )
        parameters += f"_se{format_number(se)}"
    return kind, parameters


def to_timm_arguments(spec: ArchSpec) -> dict[str, Any]:
    """The arguments of timm's EfficientNet besides the blocks: keys of TIMM_DEFAULTS whose values
    differ from the defaults.

    Its channel rounding must be off too: `round_chs_fn=lambda channels: channels`.
    """
    arguments = {
        "num_classes": spec.classes,
        "num_features": spec.head_width,
        "in_chans": spec.channels,
        "stem_size": spec.stem_width,
        "stem_kernel_size": spec.stem_kernel,
        "output_stride": max(TIMM_DEFAULTS["output_stride"], spec.total_stride),
        "pad_type": next(
            pad_type for pad_type, padding in PAD_TYPES.items() if padding == spec.padding
        ),
        "act_layer": spec.activation,
        "bn_eps": spec.bn_eps,
        "bn_momentum": spec.bn_momentum,
        "drop_rate": spec.dropout,
        "drop_path_rate": spec.drop_path,
    }
    return {name: value for name, value in arguments.items() if value != TIMM_DEFAULTS[name]}
