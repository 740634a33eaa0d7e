"""The networks of timm and torchvision by their names there ("timm:tf_efficientnet_b0",
"torchvision:resnet50") as specs.

The one decision to know: a row is a preset and what the library changes in it, nothing else; so
weights of that library fit the spec and give there and here the same outputs. Resolution is the
preset's. timm's functions leave dropout and stochastic depth at 0 unless told, these specs have the
rates of the preset; torchvision's are its own. Networks that no spec can say stand in `_BEYOND`,
with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from typing import Any

from phinas.space.interchange.timm_reader import spec_from_blocks
from phinas.space.presets import preset
from phinas.space.scaling import scale
from phinas.space.spec import ArchSpec, SpecError


@dataclass(frozen=True, slots=True)
class Peer:
    """base: a preset. width, depth: factors, rounded officially. changes: fields of the whole
    network, after scaling.
    widths, depths: of every stage in turn. expansion: of every stage."""

    base: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    width: float = 1.0
    depth: float = 1.0
    widths: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    expansion: float = 0

    def spec(self) -> ArchSpec:
        spec = scale(preset(self.base), width=self.width, depth=self.depth)
        stages = list(spec.stages)
        for index, stage in enumerate(stages):
            stages[index] = replace(
                stage,
                width=self.widths[index] if self.widths else stage.width,
                depth=self.depths[index] if self.depths else stage.depth,
                expansion=self.expansion or stage.expansion,
            )
        return replace(spec, stages=tuple(stages), **self.changes)


_TORCH = {"bn_eps": 1e-5, "bn_momentum": 0.1}
_GOOGLE = {
    "bn_eps": 1e-3,
    "bn_momentum": 0.1,
    "padding": "same",
}  # what a name beginning with tf_ means in timm
_WIDE = {"head_width": 1280}  # where the head is not scaled with the rest

_XL = Peer(
    "efficientnet_v2_l", widths=(32, 64, 96, 192, 256, 512, 640), depths=(4, 8, 8, 16, 24, 32, 8)
)
_RESNETS = {
    "resnet26": Peer("resnet_50", depths=(2, 2, 2, 2)),
    "resnet50": Peer("resnet_50"),
    "resnet101": Peer("resnet_50", depths=(3, 4, 23, 3)),
    "resnet152": Peer("resnet_50", depths=(3, 8, 36, 3)),
    "wide_resnet50_2": Peer("resnet_50", expansion=2),
    "wide_resnet101_2": Peer("resnet_50", depths=(3, 4, 23, 3), expansion=2),
}


def _timm() -> Iterator[tuple[str, Peer]]:
    for prefix, norm in (("", _TORCH), ("tf_", _GOOGLE)):
        for name in (*(f"efficientnet_b{index}" for index in range(9)), "efficientnet_l2"):
            yield f"{prefix}{name}", Peer(name, norm)
        for index in range(5):
            yield f"{prefix}efficientnet_lite{index}", Peer(f"efficientnet_lite{index}", norm)
        for size in "sml":
            yield f"{prefix}efficientnetv2_{size}", Peer(f"efficientnet_v2_{size}", norm)
        yield f"{prefix}efficientnetv2_xl", replace(_XL, changes=norm | {"resolution": 512})
    for index in range(4):
        yield f"tf_efficientnetv2_b{index}", Peer(f"efficientnet_v2_b{index}", _GOOGLE)
    yield "efficientnetv2_rw_t", Peer("efficientnet_v2_s", _TORCH, width=0.8, depth=0.9)
    for percent in (50, 75, 100, 140):
        yield f"mnasnet_{percent:03}", Peer("mnasnet_b1", _TORCH | _WIDE, width=percent / 100)
        yield f"semnasnet_{percent:03}", Peer("mnasnet_a1", _TORCH | _WIDE, width=percent / 100)
    yield "mnasnet_small", Peer("mnasnet_small", _TORCH | _WIDE)
    for percent in (35, 50, 75, 100, 140):
        head = _WIDE if percent <= 100 else {}
        yield f"mobilenetv2_{percent:03}", Peer("mobilenet_v2", _TORCH | head, width=percent / 100)
    fixed = _TORCH | _WIDE | {"stem_width": 32}
    yield "mobilenetv2_110d", Peer("mobilenet_v2", fixed, width=1.1, depths=(1, 3, 4, 5, 4, 4, 1))
    yield "mobilenetv2_120d", Peer("mobilenet_v2", fixed, width=1.2, depths=(1, 3, 5, 6, 5, 5, 1))
    yield "mobilenetv1_100", Peer("mobilenet_v1", _TORCH)
    yield "mobilenetv1_100h", Peer("mobilenet_v1", _TORCH | {"head_width": 1024})
    yield "mobilenetv1_125", Peer("mobilenet_v1", _TORCH, width=1.25)
    for name, peer in _RESNETS.items():
        yield name, replace(peer, changes=_TORCH)


def _torchvision() -> Iterator[tuple[str, Peer]]:
    for index in range(8):
        norm = _TORCH if index < 5 else {"bn_eps": 1e-3, "bn_momentum": 0.01}
        yield f"efficientnet_b{index}", Peer(f"efficientnet_b{index}", norm)
    for size in "sml":
        yield (
            f"efficientnet_v2_{size}",
            Peer(f"efficientnet_v2_{size}", {"bn_eps": 1e-3, "bn_momentum": 0.1}),
        )
    plain = _TORCH | {"drop_path": 0.0}
    yield "mobilenet_v2", Peer("mobilenet_v2", plain | {"dropout": 0.2})
    for name, width in (
        ("mnasnet0_5", 0.5),
        ("mnasnet0_75", 0.75),
        ("mnasnet1_0", 1.0),
        ("mnasnet1_3", 1.3),
    ):
        yield (
            name,
            Peer("mnasnet_b1", plain | _WIDE | {"dropout": 0.2, "bn_momentum": 3e-4}, width=width),
        )
    for name, peer in _RESNETS.items():
        if name != "resnet26":
            yield name, replace(peer, changes=plain | {"dropout": 0.0})


PEERS = {f"timm:{name}": peer for name, peer in _timm()} | {
    f"torchvision:{name}": peer for name, peer in _torchvision()
}

# Networks of timm that vary no preset, from timm/models/efficientnet.py: resolution, strings,
# arguments.
_STRINGS: dict[str, tuple[int, list[list[str]], dict[str, Any]]] = {
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
_BEYOND = dict.fromkeys(
    ("timm:efficientnetv2_rw_s", "timm:efficientnetv2_rw_m"),
    "its first blocks have a 1x1 convolution behind a 3x3 one that does not expand, which no "
    "block here has",
)
NAMES = (*PEERS, *_STRINGS)


@cache
def spec_of(name: str) -> ArchSpec:
    """The spec of "timm:NAME" or "torchvision:NAME"; what follows a dot (timm's tag of the weights)
    does not matter.

    Raises SpecError naming the nearest where there is none.
    """
    tool, _, model = name.partition(":")
    known = f"{tool}:{model.partition('.')[0]}"
    if known in PEERS:
        return PEERS[known].spec()
    if known in _STRINGS:
        resolution, blocks, arguments = _STRINGS[known]
        return spec_from_blocks(blocks, arguments, resolution=resolution)
    if known in _BEYOND:
        raise SpecError(f"spec: {known} can't be said in a spec: {_BEYOND[known]}")
    near = get_close_matches(known, NAMES, n=1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"there are {len(NAMES)}, such as {NAMES[0]}, {NAMES[-4]}"
    )
    raise SpecError(f"spec: {name!r} is no network of timm or torchvision known here; {hint}")
