"""One YAML file for a whole run, one section a stage, strict: an unknown key or a wrong type is an
error naming its path.

The sections' fields are in `phinas.experiment.schema`. `GROWABLE` lists what a resumed run may
raise: budgets, which add work and change none that is done.
"""

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config_errors import sentences, shown
from phinas.experiment.schema.fields import Section
from phinas.experiment.schema.fit import FitSection
from phinas.experiment.schema.recipe import RECIPES, Recipe
from phinas.experiment.schema.run import DataSection, RunSection
from phinas.experiment.schema.scaling import ScalingSection, ValidationSection
from phinas.experiment.schema.search import FIRST_TRIALS, SearchSection
from phinas.space.yaml_io import YamlError, parse_yaml, read_yaml

__all__ = [
    "FIRST_TRIALS",
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
Kind = TypeVar("Kind", bound=Section)


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
    def _has_images(self) -> Self:
        if self.data is None and self.search.evaluator == "proxy" and self.scaling.baseline is None:
            raise ValueError("data: missing; a configuration needs at least `data: {source: ...}`")
        return self


GROWABLE = ("search.trials", "validation.largest_multiple", "validation.seeds")
FREE = (
    "name",
    "run.workers",
    "run.threads",
    "run.trial_minutes",
    "run.retries",
    "run.retry",
    "run.device",
    "run.trials_per_gpu",
    "run.deterministic",
    "run.snapshot_minutes",
    "search.stop_after_failures",
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
    return config_from_dict(data, where=str(path))


def config_from_text(text: str, *, where: str) -> Config:
    try:
        return config_from_dict(parse_yaml(text), where=where)
    except YamlError as error:
        raise InputError(f"{where}: {error}") from None


def config_from_dict(data: object, *, where: str) -> Config:
    """A checked configuration from plain data. Raises InputError with every mistake, one a line."""
    if data is None or data == {}:
        raise InputError(
            f"{where}: is empty; a configuration needs at least `data: {{source: ...}}`"
        )
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: {shown(data)} is not a mapping of sections")
    version = data.get("version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{where}: version: {version} is newer than this phinas reads ({SCHEMA_VERSION}); "
            "upgrade phinas"
        )
    return checked(Config, data, where=where)


def checked(kind: type[Kind], data: Mapping[str, Any], *, where: str) -> Kind:
    """`data` as a section of this kind. Raises InputError with every mistake, one a line."""
    try:
        return kind.model_validate(dict(data))
    except ValidationError as error:
        raise InputError(
            "\n".join(f"{where}: {mistake}" for mistake in sentences(error, kind))
        ) from None


def flatten(config: Section) -> dict[str, Any]:
    """Dotted path to value, for comparing and for overriding."""

    def walk(data: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for key, value in data.items():
            rows |= (
                walk(value, f"{prefix}{key}.")
                if isinstance(value, Mapping)
                else {f"{prefix}{key}": value}
            )
        return rows

    return walk(config.model_dump(), "")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], *, where: str) -> Config:
    """`base` (plain data) with dotted paths set, checked."""
    return config_from_dict(overlaid(base, changes, where=where), where=where)


def overlaid(base: Mapping[str, Any], changes: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """`base` with dotted paths set, not checked yet."""
    data: dict[str, Any] = {}

    def put(path: str, value: object) -> None:
        *sections, key = path.split(".")
        target = data
        for section in sections:
            if section.endswith("recipe") and isinstance(target.get(section), str):
                target[section] = {"name": target[section]}  # `recipe: full` with an option changed
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise InputError(f"{where}: {path}: {section!r} is a single value and has no keys")
        target[key] = value

    for name, value in base.items():
        data[name] = copy.deepcopy(value)
    for path in sorted(
        changes, key=lambda path: path.count(".")
    ):  # a named recipe before its options
        put(path, changes[path])
    return data


def check_growth(old: Config, new: Config, *, where: str, untouched: Collection[str] = ()) -> None:
    """Raises InputError listing what differs, unless only budgets grew: a run's results belong to
    its configuration.

    untouched: sections, or keys of one, whose stage has not begun, where nothing is recorded yet
    that could be belied.
    """
    before, after = flatten(old), flatten(new)
    wrong = []
    for path in before:
        if (
            before[path] == after[path]
            or path in FREE
            or {path, path.partition(".")[0]} & {*untouched}
        ):
            continue
        if path in GROWABLE and after[path] > before[path]:
            continue
        wrong.append(f"{path} was {before[path]!r} and is now {after[path]!r}")
    if wrong:
        remedy = f"only {', '.join(GROWABLE)} may grow; use a new --out for another configuration"
        raise InputError(f"{where}: " + "; ".join(wrong) + f". {remedy}")
