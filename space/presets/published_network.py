"""A published network as one row of a table: the published numbers, and the fields of the network.

A row is small; `spec()` makes the spec on request.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
    """A published network.

    Attributes:
        source: the publication and the code.
        params: parameters as printed (M: 1e6, B: 1e9).
        flops: FLOPs as printed, at `resolution`.
        resolution: resolution in px.
        dropout: probability of dropout.
        note: why the printed numbers are not the exact numbers, rounded; "" if they are.
    """

    source: str
    params: str
    flops: str
    resolution: int
    dropout: float
    note: str = field(default="", kw_only=True)

    @abstractmethod
    def spec(self) -> ArchSpec:
        """The network."""


@dataclass(frozen=True, slots=True)
class PublishedEfficientNet(PublishedNetwork):
    """A member of EfficientNet: factors of B0's widths and depths."""

    width: float
    depth: float

    def spec(self) -> ArchSpec:
        base = ArchSpec(
            stages=tuple(StageSpec(*stage) for stage in _B0_STAGES), dropout=self.dropout
        )
        return base.scale(
            width=self.width, depth=self.depth, resolution=self.resolution / base.resolution
        )


@dataclass(frozen=True, slots=True)
class PublishedEfficientNetLite(PublishedEfficientNet):
    """A member of EfficientNet-Lite: no squeeze-and-excitation, ReLU6.

    The widths of stem and head and the depths of the first and the last stage are not scaled.
    """

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
    """A member of EfficientNetV2.

    The widths are listed, because its code rounds without the 90% guard; `ArchSpec.scale` would
    give B3's first stage 24 channels instead of 16. The resolution is that of evaluation, at which
    the FLOPs are printed; training ended at 300 (S), 384 (M, L), 192 (B0, B1), 208 (B2) and 240 px
    (B3).
    """

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
    """A network as a list of stages.

    Attributes:
        block: the kind of block of all stages.
        stages: the fields of each stage, in StageSpec's order.
        network_fields: fields of the network that differ from the defaults.
    """

    block: str
    stages: tuple[tuple[Any, ...], ...]
    network_fields: Mapping[str, Any]

    def spec(self) -> ArchSpec:
        stages = tuple(replace(StageSpec(*stage), block=self.block) for stage in self.stages)
        common: dict[str, Any] = {
            "resolution": self.resolution,
            "dropout": self.dropout,
            "drop_path": 0.0,
        }
        return ArchSpec(stages=stages, **common | dict(self.network_fields))
