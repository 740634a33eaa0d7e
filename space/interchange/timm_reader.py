"""Parser of timm's block strings (the letters are explained at the top of `timm_strings`).

The main decision: what timm ignores, and what a spec cannot describe, is refused, never
skipped. timm rounds where phinas truncates; where the widths would differ, the spec's ratios are
those that give timm's widths.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from phinas.space.interchange.timm_strings import (
    ACTIVATION_CODES,
    PAD_TYPES,
    TIMM_DEFAULTS,
    format_number,
    squeeze_width,
)
from phinas.space.layers import lower_block
from phinas.space.scaling import round_width
from phinas.space.spec import ArchSpec, SpecError, StageSpec

_TOKEN = re.compile(r"(r|k|s|c|fc|e|se)(\d+(?:\.\d+)?(?:e-?\d+)?)")
_INTEGER_KEYS = ("r", "k", "s", "c", "fc")
_OPTIONAL_KEYS = {
    "ds": ("e", "se"),
    "ir": ("e", "se"),
    "er": ("e", "se", "fc"),
    "cn": ("e",),
    "dsa": ("e",),
}


def spec_from_blocks(
    blocks: Sequence[Sequence[str]],
    arguments: Mapping[str, Any] | None = None,
    *,
    resolution: int = 224,
) -> ArchSpec:
    """The network that timm's EfficientNet makes of block strings.

    Args:
        blocks: timm's stages, each a list of strings. They are not scaled; scale the spec instead.
        arguments: keyword arguments; keys and defaults are TIMM_DEFAULTS.
        resolution: resolution in px.

    Raises:
        SpecError: a string or an argument is not supported; names the token or the argument.
    """
    for name in arguments or {}:
        if name not in TIMM_DEFAULTS:
            raise SpecError(
                f"{name}: is not a supported argument; supported are {', '.join(TIMM_DEFAULTS)}"
            )
    settings = TIMM_DEFAULTS | dict(arguments or {})
    if settings["pad_type"] not in PAD_TYPES:
        raise SpecError(f"pad_type: {settings['pad_type']!r} is neither '' (symmetric) nor 'same'")
    stages: list[StageSpec] = []
    for strings in blocks:
        for position, text in enumerate(strings):
            width = stages[-1].width if stages else settings["stem_size"]
            stages += _parse_stages(text, width, first=position == 0)
    spec = ArchSpec(
        stages=tuple(stages),
        stem_width=settings["stem_size"],
        stem_kernel=settings["stem_kernel_size"],
        head_width=settings["num_features"],
        resolution=resolution,
        channels=settings["in_chans"],
        classes=settings["num_classes"],
        activation={"swish": "silu", "hardswish": "hard_swish"}.get(
            settings["act_layer"], settings["act_layer"]
        ),
        dropout=settings["drop_rate"],
        drop_path=settings["drop_path_rate"],
        bn_eps=settings["bn_eps"],
        bn_momentum=settings["bn_momentum"],
        padding=PAD_TYPES[settings["pad_type"]],
    )
    if spec.total_stride > settings["output_stride"]:
        hint = (
            f"timm uses dilation above output_stride {settings['output_stride']}, which no spec "
            "has; set output_stride"
        )
        raise SpecError(f"s: the total stride is {spec.total_stride}; {hint}={spec.total_stride}")
    return spec


def _parse_block_string(text: object) -> tuple[str, dict[str, Any]]:
    """Kind of block, and the values in a string by their letters; `n` is an activation, `skip`
    True, False or absent.
    """
    kind, *parts = str(text).split("_")
    if not isinstance(text, str) or kind not in _OPTIONAL_KEYS:
        raise SpecError(
            f"{text!r}: does not begin with a known kind of block: {', '.join(_OPTIONAL_KEYS)}"
        )
    values: dict[str, Any] = {}
    for part in parts:
        key, value = _parse_part(part, kind, text)
        if key in values:
            raise SpecError(f"{text!r}: {part!r} repeats a key; write each key once")
        values[key] = value
    for key in ("r", "k", "s", "c", *(["e"] if kind in ("ir", "er") else [])):
        if key not in values:
            raise SpecError(f"{text!r}: {key!r} is missing; a {kind!r} needs it")
    if kind not in ("ir", "er") and values.get("e", 1) != 1:
        raise SpecError(
            f"{text!r}: 'e{format_number(values['e'])}' has no effect in a {kind!r}, which does "
            "not expand; leave it out"
        )
    return kind, values


def _parse_part(part: str, kind: str, text: str) -> tuple[str, Any]:
    match = _TOKEN.fullmatch(part)
    if match:
        key, value = match[1], match[2]
        if key not in (*_INTEGER_KEYS[:4], *_OPTIONAL_KEYS[kind]):
            raise SpecError(f"{text!r}: {part!r} has no effect in a {kind!r}; leave it out")
        if key in _INTEGER_KEYS and not value.isdigit():
            raise SpecError(
                f"{text!r}: {part!r} is not a whole number (mixed kernels are not supported)"
            )
        return key, int(value) if key in _INTEGER_KEYS else float(value)
    if part == "noskip" or (part == "skip" and kind == "cn"):
        return "skip", part == "skip"
    if part.startswith("n") and part[1:] in ACTIVATION_CODES:
        return "n", ACTIVATION_CODES[part[1:]]
    hint = "r, k, s, e, c, se, fc with a number, noskip, skip of a cn, nre, nr6, nhs, nsw"
    raise SpecError(f"{text!r}: {part!r} is not supported; supported are {hint}")


def _parse_stages(text: str, in_width: int, *, first: bool) -> Iterator[StageSpec]:
    """One stage for a string, or two if its first block needs other ratios than the rest."""
    kind, values = _parse_block_string(text)
    if not first and values["s"] != 1:
        raise SpecError(
            f"{text!r}: 's{values['s']}': timm uses the stride of a list's first string only; "
            "write s1 or a new list"
        )
    fields: dict[str, Any] = {
        "width": values["c"],
        "kernel": values["k"],
        "activation": values.get("n", ""),
    }
    if kind in ("dsa", "cn"):
        block = "separable" if kind == "dsa" else "conv"
        if values.get("skip"):
            fields |= {"expansion": 1, "se": 0}
            block = "fused_mbconv"
    else:
        block = "fused_mbconv" if kind == "er" else "mbconv"
        fields |= {
            "expansion": values.get("e", 1),
            "se": values.get("se", 0),
            "skip": values.get("skip", True),
        }
    try:
        stage = StageSpec(**fields, block=block, depth=values["r"], stride=values["s"])
        if kind in ("dsa", "cn"):
            yield stage
            return
        ratios = [
            _solve_ratios(kind, values, width, stage)
            for width in (in_width, stage.width)[: stage.depth]
        ]
        if len(set(ratios)) == 1:
            yield replace(stage, expansion=ratios[0][0], se=ratios[0][1])
            return
        yield replace(stage, depth=1, expansion=ratios[0][0], se=ratios[0][1])
        yield replace(
            stage, depth=stage.depth - 1, stride=1, expansion=ratios[1][0], se=ratios[1][1]
        )
    except SpecError as error:
        raise SpecError(f"{text!r}: {error}") from None


def _solve_ratios(
    kind: str, values: Mapping[str, Any], in_width: int, stage: StageSpec
) -> tuple[float, float]:
    """The expansion and se with which a block on `in_width` channels has timm's hidden and squeeze
    widths.
    """
    expansion = values.get("e", 1) if kind != "ds" else 1
    hidden = in_width if kind == "ds" else round_width((values.get("fc") or in_width) * expansion)
    squeeze_channels = squeeze_width(hidden, stage.se, expansion)
    if kind != "ds" and hidden == in_width:
        raise SpecError(
            f"'e{format_number(expansion)}' does not expand {in_width} channels; timm has a "
            "convolution there, and no kind of block has it"
        )
    if stage.se and not squeeze_channels:
        raise SpecError(
            f"'se{format_number(stage.se)}' squeezes {hidden} channels to 0; write a larger ratio"
        )
    expected_widths = ([hidden] if kind != "ds" else []) + (
        [squeeze_channels] if squeeze_channels else []
    )
    expansions = (expansion, hidden / in_width, (hidden + 0.5) / in_width)
    squeeze_ratios = (
        (stage.se, squeeze_channels / in_width, (squeeze_channels + 0.5) / in_width)
        if squeeze_channels
        else (0.0,)
    )
    for ratios in product(expansions, squeeze_ratios):
        if not 1 <= ratios[0] <= 64 or not 0 <= ratios[1] <= 1:
            continue
        candidate = replace(stage, expansion=ratios[0], se=ratios[1])
        convs = lower_block(candidate, in_width=in_width, first=True, activation="relu").convs
        if [
            conv.out_width for conv in convs if conv.name in ("expand", "squeeze")
        ] == expected_widths:
            return ratios
    raise SpecError(
        f"no expansion and se give {hidden} hidden and {squeeze_channels} squeeze channels on "
        f"{in_width}"
    )
