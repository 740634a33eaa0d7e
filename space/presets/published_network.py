"""How a published network is written as one row: what its source prints, and what the network is
made of.

A row builds nothing until it is asked for its `spec()`. The rows themselves: `presets`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from phinas.space.scaling import scale
from phinas.space.spec import ArchSpec, StageSpec

# Stages of EfficientNet-B0: arXiv:1905.11946, table 1, and tensorflow/tpu
# models/official/efficientnet. width, depth, kernel, stride, expansion
_B0_STAGES = (
    (16, 1, 3, 1, 1),
    (24, 2, 3, 2, 6),
    (40, 2, 5, 2, 6),
    (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6),
    (192, 4, 5, 2, 6),
    (320, 1, 3, 1, 6),
)
# Stages of EfficientNetV2: arXiv:2104.00298, table 4, and google/automl effnetv2_configs.py. block,
# stride, expansion, se
_V2_STAGES = (
    ("fused_mbconv", 1, 1, 0),
    ("fused_mbconv", 2, 4, 0),
    ("fused_mbconv", 2, 4, 0),
    ("mbconv", 2, 4, 0.25),
    ("mbconv", 1, 6, 0.25),
    ("mbconv", 2, 6, 0.25),
    ("mbconv", 1, 6, 0.25),  # M and L only
)


@dataclass(frozen=True, slots=True)
class PublishedNetwork(ABC):
    """A published network: who published it, what is printed there, what it is.

    params, flops: as printed (M: 1e6, B: 1e9), flops at `resolution`. note: "" where they
    are the exact numbers, rounded; else why they are not.
    """

    source: str
    params: str
    flops: str
    resolution: int
    dropout: float
    note: str = field(default="", kw_only=True)

    @abstractmethod
    def spec(self) -> ArchSpec: ...


@dataclass(frozen=True, slots=True)
class PublishedEfficientNet(PublishedNetwork):
    """One member of EfficientNet: factors on B0."""

    width: float
    depth: float

    def spec(self) -> ArchSpec:
        base = ArchSpec(
            stages=tuple(StageSpec(*stage) for stage in _B0_STAGES), dropout=self.dropout
        )
        return scale(
            base, width=self.width, depth=self.depth, resolution=self.resolution / base.resolution
        )


@dataclass(frozen=True, slots=True)
class PublishedEfficientNetLite(PublishedEfficientNet):
    """One member of EfficientNet-Lite: no squeeze-and-excitation, ReLU6, and some things are not
    scaled: the widths of stem and head, the depths of the first and the last stage."""

    def spec(self) -> ArchSpec:
        scaled = PublishedEfficientNet.spec(self)
        ends = (0, len(_B0_STAGES) - 1)
        stages = [
            replace(stage, se=0, depth=_B0_STAGES[index][1] if index in ends else stage.depth)
            for index, stage in enumerate(scaled.stages)
        ]
        return replace(
            scaled, stages=tuple(stages), stem_width=32, head_width=1280, activation="relu6"
        )


@dataclass(frozen=True, slots=True)
class PublishedEfficientNetV2(PublishedNetwork):
    """One member of EfficientNetV2, its widths as built: the code's rounding has no 90% guard, so
    `scale` would give B3's first stage 24 channels for 16. The resolution is the one of evaluation,
    to which the printed FLOPs belong; training ended at 300 (S), 384 (M, L), 192 (B0, B1), 208 (B2)
    and 240 (B3)."""

    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    head: int

    def spec(self) -> ArchSpec:
        rows = zip(self.widths, self.depths, _V2_STAGES, strict=False)
        stages = tuple(
            StageSpec(w, d, 3, stride, expansion, se, block=block)
            for w, d, (block, stride, expansion, se) in rows
        )
        return ArchSpec(
            stages=stages,
            stem_width=self.stem,
            head_width=self.head,
            resolution=self.resolution,
            dropout=self.dropout,
            bn_momentum=0.1,
        )


@dataclass(frozen=True, slots=True)
class PublishedStageList(PublishedNetwork):
    """A network written out: its kind of block, the fields of each stage in StageSpec's order, and
    global fields.
    """

    block: str
    stages: tuple[tuple[Any, ...], ...]
    global_fields: Mapping[str, Any]

    def spec(self) -> ArchSpec:
        stages = tuple(replace(StageSpec(*stage), block=self.block) for stage in self.stages)
        common: dict[str, Any] = {
            "resolution": self.resolution,
            "dropout": self.dropout,
            "drop_path": 0.0,
        }
        return ArchSpec(stages=stages, **common | dict(self.global_fields))
