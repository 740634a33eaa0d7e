"""What `phinas describe` returns: a network stage by stage, and the comparison of two."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phinas.space.cost import Cost
from phinas.space.presets.published_network import PublishedNetwork

# The fields of Cost with their titles in tables.
COST_TITLES = {
    "flops": "FLOPs",
    "params": "parameters",
    "activations": "activations",
    "peak_activations": "peak",
}


def cost_to_dict(cost: Cost) -> dict[str, int]:
    """The fields of a cost as plain data."""
    return {name: getattr(cost, name) for name in COST_TITLES}


@dataclass(frozen=True)
class StageDescription:
    """One stage of a network. A field that has no effect in the stage is None.

    Attributes:
        stage: "stem", the number of the stage, or "head".
        resolution: Height and width of its output in px.
        width: Output channels.
        cost: FLOPs (multiply-adds), parameters, activations and peak activations for one image.
        block: The kind of block.
        depth: Number of blocks.
        kernel: Kernel size of the spatial convolution.
        stride: Stride of the first block.
        expansion: Hidden width over input width (in a bottleneck output width over hidden width).
        se: Squeeze-and-excitation width over input width; 0 without squeeze-and-excitation.
        skip: Whether blocks add their input where the shapes agree.
        activation: Activation function.
        pool: Whether the stem ends with 3x3 max pooling.
        head_width: Channels of the last convolution; 0 for none.
    """

    stage: str
    resolution: int
    width: int
    cost: Cost
    block: str
    depth: int | None = None
    kernel: int | None = None
    stride: int | None = None
    expansion: float | None = None
    se: float | None = None
    skip: bool | None = None
    activation: str | None = None
    pool: bool | None = None
    head_width: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the fields that are None."""
        fields = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name != "cost" and getattr(self, name) is not None
        }
        return fields | cost_to_dict(self.cost)


@dataclass(frozen=True)
class ConventionCount:
    """What another tool reports as FLOPs of the network.

    Attributes:
        name: The name of the convention.
        tool: The tool that counts so.
        count: Its count.
        ratio: `count` over the count of phinas.
        difference: How the convention differs.
        implementations: The count where the network is written as in another library.
    """

    name: str
    tool: str
    count: int
    ratio: float
    difference: str
    implementations: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class NetworkDescription:
    """A network and its cost for one image.

    Attributes:
        name: The name or path that it was loaded by.
        network_id: Its identifier.
        published: Who published it and with which numbers; None for any other network.
        resolution: Height and width of the input in px.
        channels: Channels of the input.
        classes: Number of classes.
        activation: Activation function of blocks without one of their own.
        padding: "symmetric" (as torch pads) or "same" (as TensorFlow pads).
        depth: Number of blocks.
        cost: FLOPs (multiply-adds), parameters, activations and peak activations.
        stages: The stages from stem to head.
        conventions: What other tools count, where requested.
        fvcore_flops: The count of fvcore, where requested.
        drawing: The file of the block layout, where requested.
    """

    name: str
    network_id: str
    published: PublishedNetwork | None
    resolution: int
    channels: int
    classes: int
    activation: str
    padding: str
    depth: int
    cost: Cost
    stages: tuple[StageDescription, ...]
    conventions: tuple[ConventionCount, ...] = ()
    fvcore_flops: int | None = None
    drawing: Path | None = None

    @property
    def inference_bytes(self) -> int:
        """The least memory for inference on one image in float32, in bytes."""
        return self.cost.inference_bytes()

    @property
    def agrees(self) -> bool | None:
        """Whether fvcore counts the same; None where it was not asked."""
        return None if self.fvcore_flops is None else self.fvcore_flops == self.cost.flops

    @property
    def is_verified(self) -> bool:
        """False where fvcore counts something else."""
        return self.agrees is not False

    def to_dict(self) -> dict[str, Any]:
        """Plain data without what was not requested."""
        names = ("resolution", "channels", "classes", "activation", "padding", "depth")
        data: dict[str, Any] = {"name": self.name, "network_id": self.network_id}
        if self.published is not None:
            published = ("source", "params", "flops", "note")
            data["published"] = {name: getattr(self.published, name) for name in published}
        data |= {name: getattr(self, name) for name in names} | cost_to_dict(self.cost)
        data["inference_bytes"] = self.inference_bytes
        data["stages"] = [stage.to_dict() for stage in self.stages]
        if self.conventions:
            data["conventions"] = [row.to_dict() for row in self.conventions]
        if self.fvcore_flops is not None:
            data |= {"fvcore_flops": self.fvcore_flops, "agrees": self.agrees}
        return data | ({"drawing": str(self.drawing)} if self.drawing else {})


@dataclass(frozen=True)
class StagePair:
    """The stages of two networks at the same reduction; None where one network has none.

    Attributes:
        stages: The stage of the first and of the second network.
        differing_fields: The names of the fields that differ; "stage" where one is None.
    """

    stages: tuple[StageDescription | None, StageDescription | None]
    differing_fields: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "stages": [stage and stage.stage for stage in self.stages],
            "differing_fields": list(self.differing_fields),
        }


@dataclass(frozen=True)
class CostComparison:
    """Two networks, stage by stage.

    Attributes:
        networks: The first and the second network.
        ratios: Cost, memory, depth and resolution of the second over the first.
        pairs: Their stages, paired where they have the same reduction.
        drawing: The file of both block layouts, where requested.
    """

    networks: tuple[NetworkDescription, NetworkDescription]
    ratios: dict[str, float]
    pairs: tuple[StagePair, ...]
    drawing: Path | None = None

    @property
    def same(self) -> bool:
        """Whether both compute the same function."""
        first, second = self.networks
        return first.network_id == second.network_id

    @property
    def is_verified(self) -> bool:
        """False where fvcore counts something else for one of them."""
        return all(network.is_verified for network in self.networks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "networks": [network.to_dict() for network in self.networks],
            "ratios": self.ratios,
            "same": self.same,
            "pairs": [pair.to_dict() for pair in self.pairs],
        } | ({"drawing": str(self.drawing)} if self.drawing else {})
