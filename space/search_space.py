"""A search space: a base network and the decisions that change it. Pure data, no optimiser and no torch.

A decision names a field of the spec (`stages.2.kernel`, `resolution`) and lists the values that it may take. Multipliers
of a width and offsets of a depth are only a way of *writing* choices: they are resolved against the base when the space is
read, so every choice is the value that the network gets and decode and encode are each other's inverse.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from space.presets import PRESETS, preset
from space.scaling import MAX_FACTOR, round_width
from space.spec import ArchSpec, SpecError, StageSpec
from space.yaml_text import read_yaml

Value = int | float | bool
Choices = dict[str, Value]

_STAGE_FIELDS = ("kernel", "expansion", "se", "width", "depth", "skip")
_WHOLE_FIELDS = ("stem_width", "head_width", "resolution")


@dataclass(frozen=True, slots=True)
class Decision:
    """One field of the spec and the values it may take, at least one, all distinct."""

    name: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SpecError(f"{self.name}: has no values; list at least one")
        for value in self.values:
            if not isinstance(value, int | float):
                raise SpecError(f"{self.name}: {value!r} is not a number or true/false")
        if len(set(self.values)) < len(self.values):
            raise SpecError(f"{self.name}: {list(self.values)} names a value twice; list each once")


@dataclass(frozen=True)
class SearchSpace:
    """`base` with each of `decisions` open. `size` counts choices; several choices never mean one network here."""

    name: str
    base: ArchSpec
    decisions: tuple[Decision, ...]

    def __post_init__(self) -> None:
        if not self.decisions:
            raise SpecError(f"space {self.name!r}: has no decisions; there is nothing to search")
        for decision in self.decisions:
            for value in decision.values:
                self._check(decision.name, value)

    def _check(self, name: str, value: Value) -> None:
        """Each value must make a network by itself. Raises SpecError naming the decision."""
        try:
            self._apply({name: value})
        except SpecError as error:
            raise SpecError(f"{name.removesuffix(str(error).partition(':')[0])}{error}") from None

    @property
    def size(self) -> int:
        """How many networks the space holds, exactly."""
        return math.prod(len(decision.values) for decision in self.decisions)

    def decode(self, choices: Mapping[str, Value]) -> ArchSpec:
        """The network that a complete set of choices means. Raises SpecError for a missing, unknown or foreign one."""
        known = {decision.name: decision for decision in self.decisions}
        for name in choices:
            if name not in known:
                raise SpecError(f"{name}: is no decision of space {self.name!r}")
        for name, decision in known.items():
            if name not in choices:
                raise SpecError(f"{name}: missing; space {self.name!r} decides it")
            if choices[name] not in decision.values:
                raise SpecError(f"{name}: {choices[name]!r} is not one of {list(decision.values)}")
        return self._apply(choices)

    def encode(self, spec: ArchSpec) -> Choices:
        """The choices that mean `spec`. Raises SpecError where the space does not hold it, naming the field."""
        choices: Choices = {}
        for decision in self.decisions:
            value = _field_of(spec, decision.name)
            if value not in decision.values:
                raise SpecError(f"{decision.name}: {value!r} is not one of {list(decision.values)} of space {self.name!r}")
            choices[decision.name] = decision.values[decision.values.index(value)]
        nearest = self._apply(choices)
        for field in fields(spec):
            if getattr(nearest, field.name) != getattr(spec, field.name):
                raise SpecError(f"{field.name}: differs from the base of space {self.name!r}, which does not decide it")
        return choices

    def sample(self, generator: random.Random) -> Choices:
        """One set of choices, uniformly."""
        return {decision.name: generator.choice(decision.values) for decision in self.decisions}

    def neighbours(self, choices: Mapping[str, Value]) -> Iterator[Choices]:
        """Every set of choices that differs from `choices` in exactly one decision."""
        for decision in self.decisions:
            for value in decision.values:
                if value != choices[decision.name]:
                    yield {**choices, decision.name: value}

    def enumerate(self) -> Iterator[Choices]:
        """Every set of choices, the last decision turning fastest. Ask `size` first."""
        names = [decision.name for decision in self.decisions]
        for values in itertools.product(*(decision.values for decision in self.decisions)):
            yield dict(zip(names, values, strict=True))

    def fitted(self, *, channels: int, classes: int, resolution: int | None = None) -> Self:
        """The same space for a data set's channels and classes, at another resolution where one is given."""
        base = replace(self.base, channels=channels, classes=classes, resolution=resolution or self.base.resolution)
        return replace(self, base=base)

    def _apply(self, choices: Mapping[str, Value]) -> ArchSpec:
        stages = list(self.base.stages)
        whole: dict[str, Any] = {}
        for name, value in choices.items():
            if name.startswith("stages."):
                _, index, field = name.split(".")
                changed: dict[str, Any] = {field: value}
                stages[int(index)] = replace(stages[int(index)], **changed)
            else:
                whole[name] = value
        return replace(self.base, stages=tuple(stages), **whole)


def _field_of(spec: ArchSpec, name: str) -> Value:
    if not name.startswith("stages."):
        return getattr(spec, name)
    _, index, field = name.split(".")
    if int(index) >= len(spec.stages):
        raise SpecError(f"{name}: the spec has only {len(spec.stages)} stages")
    return getattr(spec.stages[int(index)], field)


def _resolved(rule: object, base: int | None, where: str) -> tuple[Value, ...]:
    """Choices as written: a list of values, or {multiply: [...]} of a width, {add: [...]} to a width or depth (`base`)."""
    if isinstance(rule, list):
        return tuple(rule)
    if isinstance(rule, Mapping) and len(rule) == 1 and base is not None:
        verb, numbers = next(iter(rule.items()))
        good = isinstance(numbers, list) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
        if verb == "multiply" and good and where.endswith("width") and all(0 < number < MAX_FACTOR for number in numbers):
            return tuple(dict.fromkeys(round_width(base * number) for number in numbers))
        if verb == "add" and good and all(isinstance(number, int) for number in numbers):
            # An offset that would leave no block is left out: a depth of 1 has no 0 beside it.
            return tuple(base + number for number in numbers if base + number >= 1)
    remedy = "write a list of values, {multiply: [positive numbers]} for a width, {add: [whole numbers]} for a width or depth"
    raise SpecError(f"{where}: {rule!r} is none of the ways to write choices; {remedy}")


def space_from_dict(data: object) -> SearchSpace:
    """A space from plain data, the form that `phinas` ships in space/spaces and users write.

    Keys: name; base (a preset's name or a spec); stages (field to choices, for every stage); overrides (stage number from 1
    to such a mapping); whole (field of the whole network to choices). Raises SpecError naming the key.
    """
    if not isinstance(data, Mapping):
        raise SpecError("a search space is a mapping with the keys name, base, stages, overrides, whole")
    known = ("name", "base", "stages", "overrides", "whole")
    for key in data:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            raise SpecError(f"{key}: unknown key; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"))
    if "base" not in data:
        raise SpecError("base: missing; name a preset or write the spec that the space varies")
    try:
        base = preset(data["base"]) if isinstance(data["base"], str) else ArchSpec.from_dict(data["base"])
    except SpecError as error:
        raise SpecError(f"base: {error}") from None
    overrides = _mapping(data, "overrides")
    for number in overrides:
        if not isinstance(number, int) or number not in range(1, len(base.stages) + 1):
            raise SpecError(f"overrides: {number!r} is no stage; the base has stages 1 to {len(base.stages)}")
    decisions = []
    for index, stage in enumerate(base.stages):
        rules = {**_mapping(data, "stages"), **_mapping(overrides, index + 1, where="overrides.")}
        decisions += [_decision(f"stages.{index}.{field}", rule, stage) for field, rule in rules.items()]
    decisions += [_decision(str(field), rule, base) for field, rule in _mapping(data, "whole").items()]
    return SearchSpace(str(data.get("name", "custom")), base, tuple(decisions))


def _mapping(data: Mapping[Any, Any], key: object, *, where: str = "") -> Mapping[Any, Any]:
    value = data.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise SpecError(f"{where}{key}: {value!r} is not a mapping of field to choices")
    return value or {}


def _decision(name: str, rule: object, owner: ArchSpec | StageSpec) -> Decision:
    field = name.rpartition(".")[2]
    allowed = _STAGE_FIELDS if isinstance(owner, StageSpec) else _WHOLE_FIELDS
    if field not in allowed:
        near = get_close_matches(field, allowed, n=1)
        raise SpecError(
            f"{name}: can't be searched; " + (f"did you mean {near[0]!r}?" if near else f"can: {', '.join(allowed)}")
        )
    base = getattr(owner, field) if field in ("width", "depth", "stem_width", "head_width") else None
    return Decision(name, _resolved(rule, base, name))


def load_space(name_or_path: str) -> SearchSpace:
    """A shipped space by name, or a user's own YAML file. Raises SpecError or YamlError, naming the file."""
    from space.spaces import SPACES

    path = SPACES.get(name_or_path)
    if path is None:
        path = Path(name_or_path).expanduser()
        if not _exists(path):
            near = get_close_matches(name_or_path, SPACES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SpecError(
                f"space: {name_or_path!r} is neither a file nor a shipped space; {hint}shipped: {', '.join(SPACES)}"
            )
    try:
        return space_from_dict(read_yaml(path))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system is no file either
        return False


def load_spec(name_or_path: str) -> ArchSpec:
    """A published network by name, or a spec file (also one that holds the spec under the key `spec`)."""
    if name_or_path in PRESETS:
        return preset(name_or_path)
    path = Path(name_or_path).expanduser()
    if not _exists(path):
        near = get_close_matches(name_or_path, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"presets: {', '.join(PRESETS)}"
        raise SpecError(f"spec: {name_or_path!r} is neither a file nor a preset; {hint}")
    data = read_yaml(path)
    try:
        return ArchSpec.from_dict(data["spec"] if isinstance(data, Mapping) and "spec" in data else data)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
