"""The networks of timm and torchvision as specs, by their names there ("timm:tf_efficientnet_b0",
"torchvision:resnet50").

The main decision: a row is a preset and what the library changes in it, so weights of that
library fit the spec and give the same outputs here. The resolution is the preset's. timm's
functions set dropout and stochastic depth to 0 by default, these specs have the rates of the
preset; torchvision's have torchvision's rates. Networks that no spec can describe are in
`_UNSUPPORTED`, with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from phinas.space.closest_name import suggest_name
from phinas.space.interchange.timm_reader import spec_from_blocks
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec, SpecError


@dataclass(frozen=True, slots=True)
class PresetVariant:
    """A preset with changes.

    Attributes:
        base: the name of the preset.
        overrides: fields of the network, applied after scaling.
        width: factor of the widths, with the official rounding.
        depth: factor of the depths, rounded up.
        widths: the width of each stage, if not empty.
        depths: the depth of each stage, if not empty.
        expansion: the expansion of every stage, if not 0.
    """

    base: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    width: float = 1.0
    depth: float = 1.0
    widths: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    expansion: float = 0

    def spec(self) -> ArchSpec:
        spec = preset(self.base).scale(width=self.width, depth=self.depth)
        stages = list(spec.stages)
        for index, stage in enumerate(stages):
            stages[index] = replace(
                stage,
                width=self.widths[index] if self.widths else stage.width,
                depth=self.depths[index] if self.depths else stage.depth,
                expansion=self.expansion or stage.expansion,
            )
        return replace(spec, stages=tuple(stages), **self.overrides)


_TORCH_NORM = {"bn_eps": 1e-5, "bn_momentum": 0.1}
# names that begin with tf_ in timm
_TENSORFLOW_NORM = {
    "bn_eps": 1e-3,
    "bn_momentum": 0.1,
    "padding": "same",
}
_FIXED_HEAD = {"head_width": 1280}  # for heads that are not scaled

_XL = PresetVariant(
    "efficientnet_v2_l", widths=(32, 64, 96, 192, 256, 512, 640), depths=(4, 8, 8, 16, 24, 32, 8)
)
_RESNETS = {
    "resnet18": PresetVariant("resnet_18"),
    "resnet26": PresetVariant("resnet_50", depths=(2, 2, 2, 2)),
    "resnet34": PresetVariant("resnet_34"),
    "resnet50": PresetVariant("resnet_50"),
    "resnet101": PresetVariant("resnet_50", depths=(3, 4, 23, 3)),
    "resnet152": PresetVariant("resnet_50", depths=(3, 8, 36, 3)),
    "wide_resnet50_2": PresetVariant("resnet_50", expansion=2),
    "wide_resnet101_2": PresetVariant("resnet_50", depths=(3, 4, 23, 3), expansion=2),
}


def _timm_variants() -> Iterator[tuple[str, PresetVariant]]:
    for prefix, norm in (("", _TORCH_NORM), ("tf_", _TENSORFLOW_NORM)):
        for name in (*(f"efficientnet_b{index}" for index in range(9)), "efficientnet_l2"):
            yield f"{prefix}{name}", PresetVariant(name, norm)
        for index in range(5):
            yield (
                f"{prefix}efficientnet_lite{index}",
                PresetVariant(f"efficientnet_lite{index}", norm),
            )
        for size in "sml":
            yield f"{prefix}efficientnetv2_{size}", PresetVariant(f"efficientnet_v2_{size}", norm)
        yield f"{prefix}efficientnetv2_xl", replace(_XL, overrides=norm | {"resolution": 512})
    for index in range(4):
        yield (
            f"tf_efficientnetv2_b{index}",
            PresetVariant(f"efficientnet_v2_b{index}", _TENSORFLOW_NORM),
        )
    yield (
        "efficientnetv2_rw_t",
        PresetVariant("efficientnet_v2_s", _TORCH_NORM, width=0.8, depth=0.9),
    )
    for percent in (50, 75, 100, 140):
        yield (
            f"mnasnet_{percent:03}",
            PresetVariant("mnasnet_b1", _TORCH_NORM | _FIXED_HEAD, width=percent / 100),
        )
        yield (
            f"semnasnet_{percent:03}",
            PresetVariant("mnasnet_a1", _TORCH_NORM | _FIXED_HEAD, width=percent / 100),
        )
    yield "mnasnet_small", PresetVariant("mnasnet_small", _TORCH_NORM | _FIXED_HEAD)
    for percent in (35, 50, 75, 100, 140):
        head = _FIXED_HEAD if percent <= 100 else {}
        yield (
            f"mobilenetv2_{percent:03}",
            PresetVariant("mobilenet_v2", _TORCH_NORM | head, width=percent / 100),
        )
    fixed_ends = _TORCH_NORM | _FIXED_HEAD | {"stem_width": 32}
    yield (
        "mobilenetv2_110d",
        PresetVariant("mobilenet_v2", fixed_ends, width=1.1, depths=(1, 3, 4, 5, 4, 4, 1)),
    )
    yield (
        "mobilenetv2_120d",
        PresetVariant("mobilenet_v2", fixed_ends, width=1.2, depths=(1, 3, 5, 6, 5, 5, 1)),
    )
    yield "mobilenetv1_100", PresetVariant("mobilenet_v1", _TORCH_NORM)
    yield "mobilenetv1_100h", PresetVariant("mobilenet_v1", _TORCH_NORM | {"head_width": 1024})
    yield "mobilenetv1_125", PresetVariant("mobilenet_v1", _TORCH_NORM, width=1.25)
    for name, variant in _RESNETS.items():
        yield name, replace(variant, overrides=_TORCH_NORM)


def _torchvision_variants() -> Iterator[tuple[str, PresetVariant]]:
    for index in range(8):
        norm = _TORCH_NORM if index < 5 else {"bn_eps": 1e-3, "bn_momentum": 0.01}
        yield f"efficientnet_b{index}", PresetVariant(f"efficientnet_b{index}", norm)
    for size in "sml":
        yield (
            f"efficientnet_v2_{size}",
            PresetVariant(f"efficientnet_v2_{size}", {"bn_eps": 1e-3, "bn_momentum": 0.1}),
        )
    defaults = _TORCH_NORM | {"drop_path": 0.0}
    yield "mobilenet_v2", PresetVariant("mobilenet_v2", defaults | {"dropout": 0.2})
    for name, width in (
        ("mnasnet0_5", 0.5),
        ("mnasnet0_75", 0.75),
        ("mnasnet1_0", 1.0),
        ("mnasnet1_3", 1.3),
    ):
        yield (
            name,
            PresetVariant(
                "mnasnet_b1",
                defaults | _FIXED_HEAD | {"dropout": 0.2, "bn_momentum": 3e-4},
                width=width,
            ),
        )
    for name, variant in _RESNETS.items():
        if name != "resnet26":
            yield name, replace(variant, overrides=defaults | {"dropout": 0.0})


PRESET_VARIANTS = {f"timm:{name}": variant for name, variant in _timm_variants()} | {
    f"torchvision:{name}": variant for name, variant in _torchvision_variants()
}

# Networks of timm that are no variant of a preset, from timm/models/efficientnet.py: resolution,
# block strings, arguments.
_BLOCK_STRING_MODELS: dict[str, tuple[int, list[list[str]], dict[str, Any]]] = {
    "timm:spnasnet_100": (
        224,
        [
            ["ds_r1_k3_s1_c16_noskip"],
            ["ir_r3_k3_s2_e3_c24"],
            ["ir_r1_k5_s2_e6_c40", "ir_r3_k3_s1_e3_c40"],
            ["ir_r1_k5_s2_e6_c80", "ir_r3_k3_s1_e3_c80"],
            ["ir_r1_k5_s1_e6_c96", "ir_r3_k5_s1_e3_c96"],
            ["ir_r4_k5_s2_e6_c192"],
            ["ir_r1_k3_s1_e6_c320_noskip"],
        ],
        {},
    ),
    "timm:efficientnet_es": (
        224,
        [
            ["er_r1_k3_s1_e4_c24_fc24_noskip"],
            ["er_r2_k3_s2_e8_c32"],
            ["er_r4_k3_s2_e8_c48"],
            ["ir_r5_k5_s2_e8_c96"],
            ["ir_r4_k5_s1_e8_c144"],
            ["ir_r2_k5_s2_e8_c192"],
        ],
        {},
    ),
    "timm:test_efficientnet": (
        160,
        [
            ["cn_r1_k3_s1_e1_c16_skip"],
            ["er_r1_k3_s2_e4_c24"],
            ["er_r1_k3_s2_e4_c32"],
            ["ir_r1_k3_s2_e4_c48_se0.25"],
            ["ir_r1_k3_s2_e4_c64_se0.25"],
        ],
        {"stem_size": 24, "num_features": 256, "act_layer": "silu"},
    ),
}
_UNSUPPORTED = dict.fromkeys(
    ("timm:efficientnetv2_rw_s", "timm:efficientnetv2_rw_m"),
    "its first blocks have a 1x1 convolution after a 3x3 one that does not expand, unlike any kind "
    "of block",
)
LIBRARY_MODELS = (*PRESET_VARIANTS, *_BLOCK_STRING_MODELS)

_HUB_PREFIXES = ("hf-hub:", "hf_hub:", "hf:")
_FILE_ENDINGS = {"yaml", "yml", "json", "safetensors", "pth", "pt", "bin", "py", "onnx"}


def library_name(text: str) -> str:
    """The name of a network with its library, for names as timm and the Hugging Face Hub write them
    (NAME.TAG, timm/NAME, hf-hub:timm/NAME). Other texts are returned unchanged.
    """
    for prefix in _HUB_PREFIXES:
        if text.startswith(f"{prefix}timm/"):
            return "timm:" + text.removeprefix(f"{prefix}timm/").partition("@")[0]
    name, dot, tag = text.removeprefix("timm/").partition(".")
    if dot and f"timm:{name}" in (*LIBRARY_MODELS, *_UNSUPPORTED) and tag not in _FILE_ENDINGS:
        return f"timm:{name}.{tag}"
    if text.startswith("timm/") and f"timm:{name}" in LIBRARY_MODELS and not dot:
        return f"timm:{name}"
    return text


def has_spec(name: str) -> bool:
    """Whether "timm:NAME" or "torchvision:NAME" is a network that is known as a spec, or of which
    it is known why there is none. A suffix after a dot is ignored.
    """
    return _without_tag(name) in (*LIBRARY_MODELS, *_UNSUPPORTED)


@cache
def library_spec(name: str, *, field: str = "spec") -> ArchSpec:
    """The spec of "timm:NAME" or "torchvision:NAME".

    A suffix after a dot (timm's tag of the weights) is ignored.

    Args:
        name: the network.
        field: what error messages call the argument or key that has the name.

    Raises:
        SpecError: the network is unknown or no spec can describe it; names the nearest.
    """
    key = _without_tag(name)
    if key in PRESET_VARIANTS:
        return PRESET_VARIANTS[key].spec()
    if key in _BLOCK_STRING_MODELS:
        resolution, blocks, arguments = _BLOCK_STRING_MODELS[key]
        return spec_from_blocks(blocks, arguments, resolution=resolution)
    if key in _UNSUPPORTED:
        raise SpecError(f"{field}: {key} cannot be described by a spec: {_UNSUPPORTED[key]}")
    hint = suggest_name(key, LIBRARY_MODELS) or (
        f"there are {len(LIBRARY_MODELS)}, such as {LIBRARY_MODELS[0]}, {LIBRARY_MODELS[-4]}"
    )
    raise SpecError(f"{field}: {name!r} is not a known network of timm or torchvision; {hint}")


def _without_tag(name: str) -> str:
    """The name without timm's tag of the weights."""
    library, _, model = name.partition(":")
    return f"{library}:{model.partition('.')[0]}"
