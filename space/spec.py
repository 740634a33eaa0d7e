"""What a network is: a frozen, validated description that hashes to its name.

The one decision to know: a spec holds everything that decides a network's arithmetic (resolution and classes too) and
nothing that decides its training. `spec_id` is the hash of the fields that differ from their defaults, so a field added
later with a default does not rename the networks that exist.

Blocks are those of MobileNetV2 (arXiv:1801.04381), MnasNet (arXiv:1807.11626) and EfficientNet (arXiv:1905.11946).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

from space.yaml_text import dump_yaml, parse_yaml

ACTIVATIONS = ("silu", "relu", "relu6", "hard_swish")
MAX_SIDE = 1 << 14
MAX_WIDTH = 1 << 17
MAX_DEPTH = 1 << 10


class SpecError(ValueError):
    """A description that no network can be built from. The message says field, value and remedy."""


def _refuse(field: str, value: object, remedy: str) -> SpecError:
    text = repr(value)
    return SpecError(f"{field}: {text if len(text) <= 120 else text[:117] + '...'} {remedy}")


def _check_integer(field: str, value: object, *, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _refuse(field, value, f"is not a whole number from {least} to {most}")


def _check_number(field: str, value: object, *, least: float, most: float) -> None:
    # No isfinite here: it overflows for a whole number above 1e308, which the range refuses anyway.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == math.inf:
        raise _refuse(field, value, "is not a finite number")
    if not least <= value <= most:
        raise _refuse(field, value, f"is outside {least} to {most}")


def _check_kernel(field: str, value: object) -> None:
    _check_integer(field, value, least=1, most=31)
    if isinstance(value, int) and value % 2 == 0:
        raise _refuse(field, value, f"is even: padding keeps the size only for odd kernels; use {value - 1} or {value + 1}")


def _from_mapping(kind: type, data: object, where: str) -> dict[str, Any]:
    """The keyword arguments of `kind` in `data`; an unknown or missing key is an error that names the nearest."""
    if not isinstance(data, Mapping):
        raise _refuse(where or "spec", data, "is not a mapping of field to value")
    known = {field.name: field for field in fields(kind)}
    prefix = f"{where}." if where else ""
    for key in data:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known fields: {', '.join(known)}"
            raise SpecError(f"{prefix}{key}: unknown field; {remedy}")
    for name, field in known.items():
        if name not in data and field.default is MISSING:
            raise SpecError(f"{prefix}{name}: missing; every {kind.__name__} needs it")
    return dict(data)


@dataclass(frozen=True, slots=True)
class StageSpec:
    """`depth` MBConv blocks alike; the first has the stage's stride and takes the width of the stage before.

    kernel: side of the depthwise convolution, odd. stride: 1 or 2. expansion: hidden width over input width, >= 1 (at 1
    there is no expanding convolution). width: output channels. depth: blocks. se: squeeze-and-excitation width over the
    block's *input* width, 0 for none. skip: add the input where the shapes agree.
    """

    width: int
    depth: int
    kernel: int = 3
    stride: int = 1
    expansion: float = 6
    se: float = 0.25
    skip: bool = True

    def __post_init__(self) -> None:
        _check_integer("width", self.width, least=1, most=MAX_WIDTH)
        _check_integer("depth", self.depth, least=1, most=MAX_DEPTH)
        _check_kernel("kernel", self.kernel)
        _check_integer("stride", self.stride, least=1, most=2)
        _check_number("expansion", self.expansion, least=1, most=64)
        _check_number("se", self.se, least=0, most=1)
        if not isinstance(self.skip, bool):
            raise _refuse("skip", self.skip, "is neither true nor false")


@dataclass(frozen=True, slots=True)
class ArchSpec:
    """One network: stem convolution, stages, head (1x1 convolution, global pooling, dropout, linear).

    Widths are channels, `resolution` is pixels of a (square) side, `dropout` and `drop_path` (stochastic depth of the
    last block; it rises linearly from 0) are probabilities, `bn_momentum` is torch's (1 minus TensorFlow's).
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

    def __post_init__(self) -> None:
        if not isinstance(self.stages, tuple) or not all(isinstance(stage, StageSpec) for stage in self.stages):
            raise _refuse("stages", self.stages, "is not a tuple of StageSpec")
        if not self.stages:
            raise _refuse("stages", self.stages, "is empty: a network needs at least one stage")
        for name in ("stem_width", "head_width", "channels", "classes"):
            _check_integer(name, getattr(self, name), least=1, most=MAX_WIDTH)
        _check_integer("stem_stride", self.stem_stride, least=1, most=2)
        _check_kernel("stem_kernel", self.stem_kernel)
        _check_integer("resolution", self.resolution, least=1, most=MAX_SIDE)
        if self.resolution < self.reduction:
            remedy = f"is below the total stride {self.reduction}: raise it or set some strides (stem_stride) to 1"
            raise _refuse("resolution", self.resolution, remedy)
        if self.activation not in ACTIVATIONS:
            raise _refuse("activation", self.activation, f"is not one of {', '.join(ACTIVATIONS)}")
        for name in ("dropout", "drop_path"):
            _check_number(name, getattr(self, name), least=0, most=0.95)
        _check_number("bn_eps", self.bn_eps, least=1e-9, most=1)
        _check_number("bn_momentum", self.bn_momentum, least=1e-6, most=1)

    @property
    def reduction(self) -> int:
        """Input side over the side of the last feature map (the product of all strides)."""
        return math.prod((self.stem_stride, *(stage.stride for stage in self.stages)))

    @property
    def depth(self) -> int:
        """Blocks in all."""
        return sum(stage.depth for stage in self.stages)

    @property
    def spec_id(self) -> str:
        """Twelve hexadecimal digits that name this network: cache key, file name and join key."""
        text = json.dumps(_changed(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, every field written out; `from_dict` reads it back equal."""
        whole = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "stages"}
        stages = [{field.name: getattr(stage, field.name) for field in fields(stage)} for stage in self.stages]
        return whole | {"stages": stages}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """A spec from plain data. Raises SpecError naming the field (`stages.2.kernel`), the value and the remedy."""
        whole = _from_mapping(cls, data, "")
        rows = whole["stages"]
        if not isinstance(rows, list | tuple):
            raise _refuse("stages", rows, "is not a list of stages")
        stages = []
        for index, row in enumerate(rows):
            where = f"stages.{index}"
            try:
                stages.append(StageSpec(**_from_mapping(StageSpec, row, where)))
            except SpecError as error:
                text = str(error)
                raise SpecError(text if text.startswith(where) else f"{where}.{text}") from None
        return cls(**whole | {"stages": tuple(stages)})

    def to_yaml(self) -> str:
        return dump_yaml(self.to_dict())

    @classmethod
    def from_yaml(cls, text: str | bytes) -> Self:
        """A spec from YAML text. Raises SpecError for a bad field, YamlError for bad YAML."""
        return cls.from_dict(parse_yaml(text))


def _changed(spec: ArchSpec) -> dict[str, Any]:
    """The fields that differ from their defaults, numbers in one form (6 and 6.0 are one network)."""

    def canonical(value: object) -> object:
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def differing(item: ArchSpec | StageSpec) -> dict[str, Any]:
        rows = ((field.name, getattr(item, field.name), field.default) for field in fields(item))
        return {name: canonical(value) for name, value, default in rows if name != "stages" and value != default}

    return differing(spec) | {"stages": [differing(stage) for stage in spec.stages]}
