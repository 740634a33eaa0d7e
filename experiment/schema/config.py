"""One YAML file for a whole run, one section a stage, strict: an unknown key or a wrong type is an
error naming its path.

The sections' fields are in `phinas.experiment.schema`. `INCREASABLE_KEYS` lists what a
resumed run may raise: budgets, which add work and change none that is done.
"""

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config_errors import error_messages, format_value
from phinas.experiment.schema.fields import Section
from phinas.experiment.schema.fit import FitSection
from phinas.experiment.schema.recipe import RECIPES, Recipe
from phinas.experiment.schema.run import DataSection, RunSection
from phinas.experiment.schema.scaling import ScalingSection, ValidationSection
from phinas.experiment.schema.search import EXPONENT_ESTIMATION_TRIALS, SearchSection
from phinas.space.yaml_io import YamlError, parse_yaml, read_yaml

__all__ = [
    "EXPONENT_ESTIMATION_TRIALS",
    "RECIPES",
    "DataSection",
    "FitSection",
    "Recipe",
    "RunSection",
    "ScalingSection",
    "SearchSection",
    "ValidationSection",
]

SCHEMA_VERSION = 1
SectionType = TypeVar("SectionType", bound=Section)


class Config(Section):
    """A whole run."""

    version: Literal[1] = Field(default=1, description="of this format")
    name: str = Field(
        default="run", min_length=1, max_length=80, description="the title of the report"
    )
    run: RunSection = RunSection()
    data: DataSection | None = Field(
        default=None, description="without it only a search whose evaluator needs no images"
    )
    search: SearchSection = SearchSection()
    scaling: ScalingSection = ScalingSection()
    validation: ValidationSection = ValidationSection()

    @model_validator(mode="after")
    def _check_data(self) -> Self:
        if self.data is None and self.search.evaluator == "proxy" and self.scaling.baseline is None:
            raise ValueError("data: missing; a configuration needs at least `data: {source: ...}`")
        return self


INCREASABLE_KEYS = ("search.trials", "validation.max_flops_multiple", "validation.seeds")
CHANGEABLE_KEYS = (
    "name",
    "run.workers",
    "run.threads",
    "run.trial_timeout_minutes",
    "run.max_retries",
    "run.retry_on",
    "run.device",
    "run.trials_per_gpu",
    "run.deterministic",
    "run.checkpoint_minutes",
    "search.max_consecutive_failures",
    "validation.controls",  # each is a network of its own: others' trainings stay what they are
)


def load_config(path: Path) -> Config:
    """The configuration in a YAML file. Raises InputError naming file, key, value and remedy."""
    try:
        data = read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such configuration file") from None
    except YamlError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    return config_from_dict(data, source=str(path))


def config_from_text(text: str, *, source: str) -> Config:
    try:
        return config_from_dict(parse_yaml(text), source=source)
    except YamlError as error:
        raise InputError(f"{source}: {error}") from None


def config_from_dict(data: object, *, source: str) -> Config:
    """A checked configuration from plain data. Raises InputError with every mistake, one a line."""
    if data is None or data == {}:
        raise InputError(
            f"{source}: is empty; a configuration needs at least `data: {{source: ...}}`"
        )
    if not isinstance(data, Mapping):
        raise InputError(f"{source}: {format_value(data)} is not a mapping of sections")
    version = data.get("version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{source}: version: {version} is newer than this phinas reads ({SCHEMA_VERSION}); "
            "upgrade phinas"
        )
    return validate_section(Config, data, source=source)


def validate_section(
    section_type: type[SectionType], data: Mapping[str, Any], *, source: str
) -> SectionType:
    """`data` as a section of this kind. Raises InputError with every mistake, one a line."""
    try:
        return section_type.model_validate(dict(data))
    except ValidationError as error:
        raise InputError(
            "\n".join(f"{source}: {message}" for message in error_messages(error, section_type))
        ) from None


def flatten_section(config: Section) -> dict[str, Any]:
    """Dotted path to value, for comparing and for overriding."""

    def flatten_mapping(data: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for key, value in data.items():
            rows |= (
                flatten_mapping(value, f"{prefix}{key}.")
                if isinstance(value, Mapping)
                else {f"{prefix}{key}": value}
            )
        return rows

    return flatten_mapping(config.model_dump(), "")


def merge_config(base: Mapping[str, Any], changes: Mapping[str, Any], *, source: str) -> Config:
    """`base` (plain data) with dotted paths set, checked."""
    return config_from_dict(apply_overrides(base, changes, source=source), source=source)


def apply_overrides(
    base: Mapping[str, Any], changes: Mapping[str, Any], *, source: str
) -> dict[str, Any]:
    """`base` with dotted paths set, not checked yet."""
    data: dict[str, Any] = {}

    def set_value(path: str, value: object) -> None:
        *sections, key = path.split(".")
        target = data
        for section in sections:
            if section.endswith("recipe") and isinstance(target.get(section), str):
                target[section] = {"name": target[section]}  # `recipe: full` with an option changed
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise InputError(f"{source}: {path}: {section!r} is a single value and has no keys")
        target[key] = value

    for name, value in base.items():
        data[name] = copy.deepcopy(value)
    # a named recipe before its options
    for path in sorted(changes, key=lambda path: path.count(".")):
        set_value(path, changes[path])
    return data


def check_resumable(
    old: Config, new: Config, *, source: str, unstarted: Collection[str] = ()
) -> None:
    """Raises InputError listing what differs, unless only budgets grew: a run's results belong to
    its configuration.

    unstarted: sections, or keys of one, whose stage has not begun, where nothing is recorded yet
    that could be belied.
    """
    old_values, new_values = flatten_section(old), flatten_section(new)
    differences = []
    for path in old_values:
        if (
            old_values[path] == new_values[path]
            or path in CHANGEABLE_KEYS
            or {path, path.partition(".")[0]} & {*unstarted}
        ):
            continue
        if path in INCREASABLE_KEYS and new_values[path] > old_values[path]:
            continue
        differences.append(f"{path} was {old_values[path]!r} and is now {new_values[path]!r}")
    if differences:
        increasable = ", ".join(INCREASABLE_KEYS)
        advice = f"only {increasable} may grow; use a new --out for another configuration"
        raise InputError(f"{source}: " + "; ".join(differences) + f". {advice}")
