"""What a network is: a frozen, validated description with an identity.

The main decision: a spec holds everything that decides a network's arithmetic (resolution
and classes too, and dropout, stochastic depth and momentum of batch norm, which act in training
only) and nothing of how it is trained. `network_id` is the hash of the fields that differ from
their defaults, so a field that is added later with a default does not rename existing networks.

An ArchSpec is a `phinas.space.network.Network`. Its methods call the modules that implement them;
only `build` imports torch.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

from phinas.space.cost import Cost, network_cost
from phinas.space.field_checks import SpecError, field_error, field_values
from phinas.space.network_fields import MAX_RESOLUTION, PADDINGS, NetworkFields
from phinas.space.scaling import (
    DepthRounding,
    check_factor,
    resize_stages,
    round_resolution,
    scale_depths,
    scale_widths,
    sum_group_depths,
)
from phinas.space.stage_spec import ACTIVATIONS, BLOCKS, StageSpec, merge_stages
from phinas.space.yaml_io import dump_yaml, parse_yaml

if TYPE_CHECKING:
    from phinas.space.pytorch.conv_net import ConvNet

__all__ = [
    "ACTIVATIONS",
    "BLOCKS",
    "MAX_RESOLUTION",
    "PADDINGS",
    "ArchSpec",
    "SpecError",
    "StageSpec",
]


@dataclass(frozen=True, slots=True)
class ArchSpec(NetworkFields):
    """A network in stages of convolutional blocks. The fields are those of NetworkFields."""

    @property
    def network_id(self) -> str:
        """Twelve hexadecimal digits that name this network: cache key, file name and join key."""
        text = json.dumps(
            _non_default_fields(self.canonicalize()), sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def canonicalize(self) -> Self:
        """The same network in its canonical form, which is what `network_id` hashes.

        Identities are left out, fields without effect are at their defaults, and a stage that only
        repeats the blocks of the one before is merged into it.
        """
        stages = merge_stages(self.stages, in_width=self.stem_width, activation=self.activation)
        return self if stages == self.stages else replace(self, stages=stages)

    def cost(self) -> Cost:
        """FLOPs (multiply-adds), parameters, activations and peak activations for one image,
        exactly.
        """
        return network_cost(self)

    def build(self) -> "ConvNet":
        """The torch module, freshly initialized from torch's current generator on the current
        default device.
        """
        from phinas.space.pytorch.conv_net import ConvNet

        return ConvNet(self)

    def adapt(
        self,
        *,
        channels: int | None = None,
        classes: int | None = None,
        resolution: int | None = None,
    ) -> Self:
        """The same network for other images or classes; None leaves a value as it is.

        Raises:
            SpecError: a value is not legal, such as a resolution below the total stride.
        """
        changes = {"channels": channels, "classes": classes, "resolution": resolution}
        values: dict[str, Any] = {name: v for name, v in changes.items() if v is not None}
        return replace(self, **values)

    def scale(
        self,
        *,
        depth: float = 1.0,
        width: float = 1.0,
        resolution: float = 1.0,
        divisor: int = 8,
        rounding: DepthRounding = "ceil",
    ) -> Self:
        """This network with all depths and widths and its resolution multiplied and rounded.

        A factor of exactly 1 leaves its dimension as it is, also where rounding would change it. A
        factor below 1 raises no width, also one that is not a multiple of the divisor.
        Where depth or width change, the stages are those of the canonical network, so that one
        network scales to one network however it is written.

        Args:
            depth: factor of the number of blocks.
            width: factor of the channels of stem, stages and head.
            resolution: factor of the resolution.
            divisor: widths are rounded to multiples of it.
            rounding: how depths are rounded (`phinas.space.scaling`).

        Raises:
            SpecError: a factor is not a number above 0 and below 1,000,000, or the scaled network
                exceeds a limit of a field.
        """
        for name, factor in (("width", width), ("depth", depth), ("resolution", resolution)):
            check_factor(name, factor)
        scaled = self
        if width != 1 or depth != 1:
            canonical = self.canonicalize()
            scaled = canonical.resize(
                scale_depths(canonical.group_depths, depth, rounding=rounding),
                scale_widths(canonical.widths, width, divisor=divisor),
            )
        return replace(scaled, resolution=round_resolution(self.resolution * resolution))

    @property
    def group_depths(self) -> list[int]:
        """The number of blocks of each stage group, for `resize`. The spec must be canonical.

        A group is a run of stages that keep one resolution and width after its first block.
        """
        return sum_group_depths(self.stages)

    @property
    def widths(self) -> list[int]:
        """Channels of stem, stages and head, for `resize`."""
        return [self.stem_width, *(stage.width for stage in self.stages), self.head_width]

    def resize(self, depths: Sequence[int], widths: Sequence[int]) -> Self:
        """This network, which must be canonical, with other `group_depths` and `widths`."""
        stem, *stage_widths, head = widths
        stages = resize_stages(self.stages, depths, stage_widths)
        return replace(self, stages=stages, stem_width=stem, head_width=head)

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every field; `from_dict` reads it back equal."""
        network_fields = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "stages"
        }
        stages = [
            {field.name: getattr(stage, field.name) for field in fields(stage)}
            for stage in self.stages
        ]
        return network_fields | {"stages": stages}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """A spec from plain data.

        Raises:
            SpecError: names the field (`stages.2.kernel`), the value and the remedy.
        """
        network_fields = field_values(cls, data, "")
        stage_rows = network_fields["stages"]
        if not isinstance(stage_rows, list | tuple):
            raise field_error("stages", stage_rows, "is not a list of stages")
        stages = []
        for index, row in enumerate(stage_rows):
            path = f"stages.{index}"
            try:
                stages.append(StageSpec(**field_values(StageSpec, row, path)))
            except SpecError as error:
                text = str(error)
                raise SpecError(text if text.startswith(path) else f"{path}.{text}") from None
        return cls(**network_fields | {"stages": tuple(stages)})

    def to_yaml(self) -> str:
        """The text of a spec file."""
        return dump_yaml(self.to_dict())

    @classmethod
    def from_yaml(cls, text: str | bytes) -> Self:
        """A spec from YAML text.

        Raises:
            SpecError: a field is not legal.
            YamlError: the text is not YAML.
        """
        return cls.from_dict(parse_yaml(text))


def _non_default_fields(spec: ArchSpec) -> dict[str, Any]:
    """The fields that differ from their defaults, numbers in one form (6 and 6.0 are one
    network).
    """

    def as_int_if_whole(value: object) -> object:
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def changed_fields(item: ArchSpec | StageSpec) -> dict[str, Any]:
        rows = ((field.name, getattr(item, field.name), field.default) for field in fields(item))
        return {
            name: as_int_if_whole(value)
            for name, value, default in rows
            if name != "stages" and value != default
        }

    return changed_fields(spec) | {"stages": [changed_fields(stage) for stage in spec.stages]}
