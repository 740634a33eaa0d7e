"""The fields of a network in stages, validated. `spec.ArchSpec` adds identity, cost and the rest.

Lowering, cost and torch modules read these fields; they stand apart from ArchSpec so that ArchSpec
can call those modules.
"""

import math
from dataclasses import dataclass

from phinas.space.field_checks import (
    check_bool,
    check_choice,
    check_integer,
    check_kernel,
    check_number,
    field_error,
)
from phinas.space.stage_spec import ACTIVATIONS, MAX_WIDTH, StageSpec

PADDINGS = ("symmetric", "same")
MAX_RESOLUTION = 1 << 14


@dataclass(frozen=True, slots=True)
class NetworkFields:
    """A network: stem convolution, stages, head (1x1 convolution, global pooling, dropout, linear).

    Attributes:
        stages: at least one, and not identities only.
        stem_width: output channels of the stem.
        stem_stride: 1 or 2.
        stem_kernel: size of the stem convolution, odd.
        head_width: output channels of the head convolution; 0: there is none.
        resolution: height and width of the images, in px.
        channels: channels of the images.
        classes: number of classes.
        activation: one of ACTIVATIONS.
        dropout: probability of dropout before the classifier.
        drop_path: probability of stochastic depth in the last block; it rises linearly from 0.
        bn_eps: epsilon of the batch norms.
        bn_momentum: momentum of the batch norms as torch counts it (1 minus TensorFlow's).
        stem_pool: whether a 3x3 max pooling of stride 2 follows the stem.
        padding: "symmetric", or "same" as TensorFlow pads (unevenly at stride 2). Sizes and cost
            are the same.

    Raises:
        SpecError: a field is not legal.
    """

    stages: tuple[StageSpec, ...]
    stem_width: int = 32
    stem_stride: int = 2
    stem_kernel: int = 3
    head_width: int = 1280
    resolution: int = 224
    channels: int = 3
    classes: int = 1000
    activation: str = "silu"
    dropout: float = 0.2
    drop_path: float = 0.2
    bn_eps: float = 1e-3
    bn_momentum: float = 0.01
    stem_pool: bool = False
    padding: str = "symmetric"

    def __post_init__(self) -> None:
        self._check_stages()
        for name in ("stem_width", "channels", "classes"):
            check_integer(name, getattr(self, name), minimum=1, maximum=MAX_WIDTH)
        check_integer("head_width", self.head_width, minimum=0, maximum=MAX_WIDTH)
        check_bool("stem_pool", self.stem_pool)
        check_integer("stem_stride", self.stem_stride, minimum=1, maximum=2)
        check_kernel("stem_kernel", self.stem_kernel)
        check_integer("resolution", self.resolution, minimum=1, maximum=MAX_RESOLUTION)
        if self.resolution < self.total_stride:
            raise field_error(
                "resolution",
                self.resolution,
                f"is below the total stride {self.total_stride}; raise it or set some strides "
                "such as stem_stride to 1",
            )
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("padding", self.padding, PADDINGS)
        for name in ("dropout", "drop_path"):
            check_number(name, getattr(self, name), minimum=0, maximum=0.95)
        check_number("bn_eps", self.bn_eps, minimum=1e-9, maximum=1)
        check_number("bn_momentum", self.bn_momentum, minimum=1e-6, maximum=1)

    def _check_stages(self) -> None:
        stages = self.stages
        if not isinstance(stages, tuple) or not all(isinstance(s, StageSpec) for s in stages):
            raise field_error("stages", stages, "is not a tuple of StageSpec")
        if not stages:
            raise field_error("stages", stages, "is empty; a network needs at least one stage")
        if all(stage.block == "identity" for stage in stages):
            blocks = [stage.block for stage in stages]
            raise field_error("stages", blocks, "leaves every layer out; keep at least one")

    @property
    def total_stride(self) -> int:
        """Input resolution over the resolution of the last feature map (the product of all
        strides).
        """
        return math.prod(
            (self.stem_stride, 1 + self.stem_pool, *(stage.stride for stage in self.stages))
        )

    @property
    def min_resolution(self) -> int:
        """The smallest legal resolution in px: one px for each of the last feature map."""
        return self.total_stride

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(stage.depth for stage in self.stages if stage.block != "identity")

    @property
    def last_width(self) -> int:
        """Channels that enter the classifier."""
        return self.head_width or next(
            stage.width for stage in reversed(self.stages) if stage.block != "identity"
        )
