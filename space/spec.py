"""What a network is: a frozen, validated description that hashes to its name.

The one decision to know: a spec holds everything that decides a network's arithmetic (resolution
and classes too, and dropout, stochastic depth and momentum of batch norm, which act in training
only) and nothing of how it is trained. `spec_id` is the hash of the fields that differ from their
defaults, so a field added later with a default does not rename the networks that exist.

Blocks are those of ResNet (arXiv:1512.03385), MobileNetV1 (arXiv:1704.04861), MobileNetV2
(arXiv:1801.04381), MnasNet (arXiv:1807.11626), EfficientNet (arXiv:1905.11946) and EfficientNetV2
(arXiv:2104.00298).
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Self

from phinas.space.yaml_io import dump_yaml, parse_yaml

# Each kind of block, and the fields of StageSpec that have no effect in it.
UNUSED_FIELDS: dict[str, tuple[str, ...]] = {
    # expand 1x1, depthwise, squeeze-and-excitation, project; at expansion 1 and se 0:
    # depthwise-separable
    "mbconv": (),
    # EfficientNetV2's: expand k x k, squeeze-and-excitation, project; at expansion 1 one
    # convolution
    "fused_mbconv": (),
    # ResNet's: reduce 1x1, k x k, restore 1x1, activation after the addition
    "bottleneck": (),
    # MobileNetV1's: depthwise, pointwise, an activation after each, no shortcut
    "separable": ("expansion", "se", "skip"),
    # one k x k convolution, no shortcut
    "conv": ("expansion", "se", "skip"),
    # a layer left out
    "identity": ("width", "depth", "kernel", "expansion", "se", "skip", "activation"),
}
BLOCKS = tuple(UNUSED_FIELDS)
ACTIVATIONS = ("silu", "relu", "relu6", "hard_swish")
PADDINGS = ("symmetric", "same")
MAX_RESOLUTION = 1 << 14
MAX_WIDTH = 1 << 17
MAX_DEPTH = 1 << 10


class SpecError(ValueError):
    """A description that no network can be built from.

    The message says field, value and what to do.
    """


def _field_error(field: str, value: object, reason: str) -> SpecError:
    text = repr(value)
    return SpecError(f"{field}: {text if len(text) <= 120 else text[:117] + '...'} {reason}")


def _check_integer(field: str, value: object, *, minimum: int, maximum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise _field_error(field, value, f"is not a whole number from {minimum} to {maximum}")


def _check_number(field: str, value: object, *, minimum: float, maximum: float) -> None:
    # No isfinite here: it overflows for a whole number above 1e308, which the range refuses anyway.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value
        or abs(value) == math.inf
    ):
        raise _field_error(field, value, "is not a finite number")
    if not minimum <= value <= maximum:
        raise _field_error(field, value, f"is outside {minimum} to {maximum}")


def _check_kernel(field: str, value: object) -> None:
    _check_integer(field, value, minimum=1, maximum=31)
    if isinstance(value, int) and value % 2 == 0:
        raise _field_error(
            field,
            value,
            f"is even: padding keeps the size only for odd kernels; use {value - 1} or {value + 1}",
        )


def _check_choice(field: str, value: object, options: Iterable[str]) -> None:
    options = tuple(options)
    if value not in options:
        matches = get_close_matches(str(value), options, n=1)
        raise _field_error(
            field,
            value,
            f"is not one of {', '.join(options)}"
            + (f"; did you mean {matches[0]!r}?" if matches else ""),
        )


def _field_values(cls: type, data: object, path: str) -> dict[str, Any]:
    """The keyword arguments of `kind` in `data`; an unknown or missing key is an error that names
    the nearest.
    """
    if not isinstance(data, Mapping):
        raise _field_error(path or "spec", data, "is not a mapping of field to value")
    known_fields = {field.name: field for field in fields(cls)}
    prefix = f"{path}." if path else ""
    for key in data:
        if key not in known_fields:
            matches = get_close_matches(str(key), known_fields, n=1)
            hint = (
                f"did you mean {matches[0]!r}?"
                if matches
                else f"known fields: {', '.join(known_fields)}"
            )
            raise SpecError(f"{prefix}{key}: unknown field; {hint}")
    for name, field in known_fields.items():
        if name not in data and field.default is MISSING:
            raise SpecError(f"{prefix}{name}: missing; every {cls.__name__} needs it")
    return dict(data)


@dataclass(frozen=True, slots=True)
class StageSpec:
    """`depth` blocks alike; the first has the stage's stride and takes the width of the stage
    before.

    width: output channels. depth: blocks. kernel: size of the spatial convolution, odd. stride: 1
    or 2. expansion: hidden width over input width, >= 1 (at 1 there is no expanding convolution);
    in a bottleneck, output width over hidden width.
    se: squeeze-and-excitation width over the block's *input* width, 0 for none. skip: add the input
    where the shapes agree (a bottleneck makes them agree). block: a kind of BLOCKS. activation: of
    ACTIVATIONS, or "" for the network's.
    """

    width: int
    depth: int
    kernel: int = 3
    stride: int = 1
    expansion: float = 6
    se: float = 0.25
    skip: bool = True
    block: str = "mbconv"
    activation: str = ""

    def __post_init__(self) -> None:
        _check_integer("width", self.width, minimum=1, maximum=MAX_WIDTH)
        _check_integer("depth", self.depth, minimum=1, maximum=MAX_DEPTH)
        _check_kernel("kernel", self.kernel)
        _check_integer("stride", self.stride, minimum=1, maximum=2)
        _check_number("expansion", self.expansion, minimum=1, maximum=64)
        _check_number("se", self.se, minimum=0, maximum=1)
        if not isinstance(self.skip, bool):
            raise _field_error("skip", self.skip, "is neither true nor false")
        _check_choice("block", self.block, BLOCKS)
        if self.block == "identity" and self.stride != 1:
            raise _field_error(
                "stride",
                self.stride,
                "cannot be had from an identity: use another block, or stride 1",
            )
        if self.activation != "":
            _check_choice("activation", self.activation, ACTIVATIONS)


_STAGE_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(StageSpec)}


@dataclass(frozen=True, slots=True)
class ArchSpec:
    """One network: stem convolution, stages, head (1x1 convolution, global pooling, dropout,
    linear).

    Widths are channels (head_width 0: no head convolution), `resolution` is pixels of a (square)
    side, `dropout` and `drop_path` (stochastic depth of the last block; it rises linearly from 0)
    are probabilities, `bn_momentum` is torch's (1 minus TensorFlow's). stem_pool: a 3x3 max pooling
    of stride 2 follows the stem. padding: "symmetric", or "same" as TensorFlow pads (unevenly at
    stride 2; sizes and cost are alike).
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
        if not isinstance(self.stages, tuple) or not all(
            isinstance(stage, StageSpec) for stage in self.stages
        ):
            raise _field_error("stages", self.stages, "is not a tuple of StageSpec")
        if not self.stages:
            raise _field_error(
                "stages", self.stages, "is empty: a network needs at least one stage"
            )
        if all(stage.block == "identity" for stage in self.stages):
            raise _field_error(
                "stages",
                [stage.block for stage in self.stages],
                "leaves every layer out: keep at least one",
            )
        for name in ("stem_width", "head_width", "channels", "classes"):
            _check_integer(
                name,
                getattr(self, name),
                minimum=0 if name == "head_width" else 1,
                maximum=MAX_WIDTH,
            )
        if not isinstance(self.stem_pool, bool):
            raise _field_error("stem_pool", self.stem_pool, "is neither true nor false")
        _check_integer("stem_stride", self.stem_stride, minimum=1, maximum=2)
        _check_kernel("stem_kernel", self.stem_kernel)
        _check_integer("resolution", self.resolution, minimum=1, maximum=MAX_RESOLUTION)
        if self.resolution < self.total_stride:
            hint = (
                f"is below the total stride {self.total_stride}: raise it or set some "
                "strides (stem_stride) to 1"
            )
            raise _field_error("resolution", self.resolution, hint)
        _check_choice("activation", self.activation, ACTIVATIONS)
        _check_choice("padding", self.padding, PADDINGS)
        for name in ("dropout", "drop_path"):
            _check_number(name, getattr(self, name), minimum=0, maximum=0.95)
        _check_number("bn_eps", self.bn_eps, minimum=1e-9, maximum=1)
        _check_number("bn_momentum", self.bn_momentum, minimum=1e-6, maximum=1)

    @property
    def total_stride(self) -> int:
        """Input resolution over the resolution of the last feature map (the product of all
        strides).
        """
        return math.prod(
            (self.stem_stride, 1 + self.stem_pool, *(stage.stride for stage in self.stages))
        )

    @property
    def depth(self) -> int:
        """Blocks in all."""
        return sum(stage.depth for stage in self.stages if stage.block != "identity")

    @property
    def last_width(self) -> int:
        """Channels that the classifier sees."""
        return self.head_width or next(
            stage.width for stage in reversed(self.stages) if stage.block != "identity"
        )

    @property
    def spec_id(self) -> str:
        """Twelve hexadecimal digits that name this network: cache key, file name and join key."""
        text = json.dumps(
            _non_default_fields(self.canonicalize()), sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def canonicalize(self) -> Self:
        """The same network in its canonical form, which is what `spec_id` hashes.

        Identities are left out, fields that have no effect are at their defaults, and a stage that
        only repeats the blocks of the one before is merged into it.
        """
        stages: list[StageSpec] = []
        # input channels of each stage, and output channels of the last
        in_widths = [self.stem_width]
        for stage in self.stages:
            if stage.block == "identity":
                continue
            stage = _reset_unused_fields(stage, self.activation)
            previous = stages[-1] if stages else None
            if (
                previous
                and _can_merge(previous, stage)
                and (previous.skip == stage.skip or not skip_has_effect(previous, in_widths[-2]))
            ):
                stages[-1] = replace(previous, depth=previous.depth + stage.depth, skip=stage.skip)
            else:
                stages.append(stage)
                in_widths.append(stage.width)
        for index, stage in enumerate(stages):
            if not stage.skip and not skip_has_effect(stage, in_widths[index]):
                stages[index] = replace(stage, skip=True)
        return self if tuple(stages) == self.stages else replace(self, stages=tuple(stages))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, every field written out; `from_dict` reads it back equal."""
        global_fields = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "stages"
        }
        stages = [
            {field.name: getattr(stage, field.name) for field in fields(stage)}
            for stage in self.stages
        ]
        return global_fields | {"stages": stages}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """A spec from plain data. Raises SpecError naming the field (`stages.2.kernel`), the value
        and what to do.
        """
        global_fields = _field_values(cls, data, "")
        stage_rows = global_fields["stages"]
        if not isinstance(stage_rows, list | tuple):
            raise _field_error("stages", stage_rows, "is not a list of stages")
        stages = []
        for index, row in enumerate(stage_rows):
            where = f"stages.{index}"
            try:
                stages.append(StageSpec(**_field_values(StageSpec, row, where)))
            except SpecError as error:
                text = str(error)
                raise SpecError(text if text.startswith(where) else f"{where}.{text}") from None
        return cls(**global_fields | {"stages": tuple(stages)})

    def to_yaml(self) -> str:
        return dump_yaml(self.to_dict())

    @classmethod
    def from_yaml(cls, text: str | bytes) -> Self:
        """A spec from YAML text. Raises SpecError for a bad field, YamlError for bad YAML."""
        return cls.from_dict(parse_yaml(text))


def skip_has_effect(stage: StageSpec, in_width: int) -> bool:
    """Whether `skip` changes anything in this stage."""
    return (
        stage.depth > 1
        or stage.block == "bottleneck"
        or (stage.stride == 1 and in_width == stage.width)
    )


def _can_merge(previous: StageSpec, stage: StageSpec) -> bool:
    """Whether the blocks of `stage` are, except perhaps for `skip`, like the repeated ones of
    `previous`, the stage before it.
    """
    same_fields = all(
        getattr(previous, name) == getattr(stage, name)
        for name in ("width", "block", "kernel", "expansion", "se", "activation")
    )
    return stage.stride == 1 and same_fields and previous.depth + stage.depth <= MAX_DEPTH


def _reset_unused_fields(stage: StageSpec, activation: str) -> StageSpec:
    """`stage` with the fields that have no effect in its block at their defaults."""
    defaults: dict[str, Any] = {name: _STAGE_DEFAULTS[name] for name in UNUSED_FIELDS[stage.block]}
    if stage.activation == activation:
        defaults["activation"] = ""
    changed = {name: value for name, value in defaults.items() if getattr(stage, name) != value}
    return replace(stage, **changed) if changed else stage


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
