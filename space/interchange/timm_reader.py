"""timm's block strings read as a spec (the letters stand at the top of `timm_strings`).

The one decision to know: what timm ignores, and what a spec has no word for, is refused, never read
past. timm rounds where this project cuts off; where that gives other widths, the ratios of the spec
are those that have timm's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from phinas.space.interchange.timm_strings import (
    ACTIVATIONS,
    ARGUMENTS,
    PADDINGS,
    as_text,
    squeezed_width,
)
from phinas.space.layers import lower_block
from phinas.space.scaling import round_width
from phinas.space.spec import ArchSpec, SpecError, StageSpec

_TOKEN = re.compile(r"(r|k|s|c|fc|e|se)(\d+(?:\.\d+)?(?:e-?\d+)?)")
_WHOLE = ("r", "k", "s", "c", "fc")
_ALLOWED = {
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
    """The network that timm's EfficientNet makes of these strings and `arguments` (keys and
    defaults: ARGUMENTS).

    No multiplier: scale the spec. Raises SpecError naming the string and the token, or the
    argument.
    """
    for name in arguments or {}:
        if name not in ARGUMENTS:
            raise SpecError(
                f"{name}: is not one of the arguments known here: {', '.join(ARGUMENTS)}"
            )
    told = ARGUMENTS | dict(arguments or {})
    if told["pad_type"] not in PADDINGS:
        raise SpecError(f"pad_type: {told['pad_type']!r} is neither '' (symmetric) nor 'same'")
    stages: list[StageSpec] = []
    for stack in blocks:
        for position, text in enumerate(stack):
            width = stages[-1].width if stages else told["stem_size"]
            stages += _stages(text, width, first=position == 0)
    spec = ArchSpec(
        stages=tuple(stages),
        stem_width=told["stem_size"],
        stem_kernel=told["stem_kernel_size"],
        head_width=told["num_features"],
        resolution=resolution,
        channels=told["in_chans"],
        classes=told["num_classes"],
        activation={"swish": "silu", "hardswish": "hard_swish"}.get(
            told["act_layer"], told["act_layer"]
        ),
        dropout=told["drop_rate"],
        drop_path=told["drop_path_rate"],
        bn_eps=told["bn_eps"],
        bn_momentum=told["bn_momentum"],
        padding=PADDINGS[told["pad_type"]],
    )
    if spec.reduction > told["output_stride"]:
        remedy = (
            f"timm dilates what is above output_stride {told['output_stride']}, which no "
            "spec says: give output_stride"
        )
        raise SpecError(f"s: the strides multiply to {spec.reduction}; {remedy}={spec.reduction}")
    return spec


def _tokens(text: object) -> tuple[str, dict[str, Any]]:
    """Kind of block, and the values in a string by their letters; `n` is an activation, `skip`
    True, False or absent.
    """
    kind, *words = str(text).split("_")
    if not isinstance(text, str) or kind not in _ALLOWED:
        raise SpecError(f"{text!r}: begins with no kind of block known here: {', '.join(_ALLOWED)}")
    found: dict[str, Any] = {}
    for word in words:
        match = _TOKEN.fullmatch(word)
        if match:
            key, value = match[1], match[2]
            if key not in (*_WHOLE[:4], *_ALLOWED[kind]):
                raise SpecError(f"{text!r}: {word!r} means nothing to a {kind!r}: leave it out")
            if key in _WHOLE and not value.isdigit():
                raise SpecError(
                    f"{text!r}: {word!r} is not a whole number (mixed kernels have no counterpart "
                    "here)"
                )
            item: tuple[str, Any] = (key, int(value) if key in _WHOLE else float(value))
        elif word == "noskip" or (word == "skip" and kind == "cn"):
            item = ("skip", word == "skip")
        elif word.startswith("n") and word[1:] in ACTIVATIONS:
            item = ("n", ACTIVATIONS[word[1:]])
        else:
            remedy = "r, k, s, e, c, se, fc with a number, noskip, skip of a cn, nre, nr6, nhs, nsw"
            raise SpecError(f"{text!r}: {word!r} has no counterpart here; known are {remedy}")
        if item[0] in found:
            raise SpecError(f"{text!r}: {word!r} says a second time what was said before it")
        found |= (item,)
    for key in ("r", "k", "s", "c", *(["e"] if kind in ("ir", "er") else [])):
        if key not in found:
            raise SpecError(f"{text!r}: {key!r} is missing; a {kind!r} needs it")
    if kind not in ("ir", "er") and found.get("e", 1) != 1:
        raise SpecError(
            f"{text!r}: 'e{as_text(found['e'])}' means nothing to a {kind!r}, which does not expand"
        )
    return kind, found


def _stages(text: str, in_width: int, *, first: bool) -> Iterator[StageSpec]:
    """One stage of ours for a string, or two where its first block needs other ratios than the
    rest.
    """
    kind, found = _tokens(text)
    if not first and found["s"] != 1:
        raise SpecError(
            f"{text!r}: 's{found['s']}': timm takes the stride of a list's first string only; "
            "write s1 or a new list"
        )
    fields: dict[str, Any] = {
        "width": found["c"],
        "kernel": found["k"],
        "activation": found.get("n", ""),
    }
    if kind in ("dsa", "cn"):
        block = "separable" if kind == "dsa" else "conv"
        if found.get("skip"):
            fields |= {"expansion": 1, "se": 0}
            block = "fused_mbconv"
    else:
        block = "fused_mbconv" if kind == "er" else "mbconv"
        fields |= {
            "expansion": found.get("e", 1),
            "se": found.get("se", 0),
            "skip": found.get("skip", True),
        }
    try:
        stage = StageSpec(**fields, block=block, depth=found["r"], stride=found["s"])
        if kind in ("dsa", "cn"):
            yield stage
            return
        ratios = [
            _ratios(kind, found, width, stage) for width in (in_width, stage.width)[: stage.depth]
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


def _ratios(
    kind: str, found: Mapping[str, Any], in_width: int, stage: StageSpec
) -> tuple[float, float]:
    """The expansion and se with which our block on `in_width` channels has timm's hidden and
    squeezed widths.
    """
    expansion = found.get("e", 1) if kind != "ds" else 1
    hidden = in_width if kind == "ds" else round_width((found.get("fc") or in_width) * expansion)
    squeezed = squeezed_width(hidden, stage.se, expansion)
    if kind != "ds" and hidden == in_width:
        raise SpecError(
            f"'e{as_text(expansion)}' does not expand {in_width} channels; timm convolves all the "
            "same, no block here"
        )
    if stage.se and not squeezed:
        raise SpecError(
            f"'se{as_text(stage.se)}' squeezes {hidden} channels to none: write a larger one"
        )
    wanted = ([hidden] if kind != "ds" else []) + ([squeezed] if squeezed else [])
    expansions = (expansion, hidden / in_width, (hidden + 0.5) / in_width)
    squeezes = (stage.se, squeezed / in_width, (squeezed + 0.5) / in_width) if squeezed else (0.0,)
    for pair in product(expansions, squeezes):
        if not 1 <= pair[0] <= 64 or not 0 <= pair[1] <= 1:
            continue
        trial = replace(stage, expansion=pair[0], se=pair[1])
        convs = lower_block(trial, in_width=in_width, first=True, activation="relu").convs
        if [conv.out_width for conv in convs if conv.role in ("expand", "squeeze")] == wanted:
            return pair
    raise SpecError(
        f"{hidden} hidden and {squeezed} squeezed channels on {in_width} are out of reach of a "
        "spec's expansion and se"
    )
