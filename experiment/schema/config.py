"""The configuration of a run: one YAML file with one section for each stage.

Unknown keys and wrong types are errors that name the path of the key. The keys of the sections are
declared in `phinas.experiment.schema`, with whether a resumed run may change them.
"""

import copy
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config_errors import find_problems, format_value
from phinas.experiment.schema.fields import Section, invalid, option
from phinas.experiment.schema.fit import FitSection
from phinas.experiment.schema.option_info import keys_on_resume, plain_values
from phinas.experiment.schema.recipe import RECIPES, Recipe
from phinas.experiment.schema.run import DataSection, RunSection
from phinas.experiment.schema.scaling import ScalingSection
from phinas.experiment.schema.search import (
    EXPONENT_ESTIMATION_TRIALS,
    MIN_RANK_CORRELATION,
    PROXY_CHECK_NETWORKS,
    SearchSection,
)
from phinas.experiment.schema.validation import ValidationSection
from phinas.space.yaml_io import YamlError, parse_yaml, read_yaml

__all__ = [
    "EXPONENT_ESTIMATION_TRIALS",
    "MIN_RANK_CORRELATION",
    "PROXY_CHECK_NETWORKS",
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
    """The configuration of a run."""

    version: Literal[1] = option("Version of the format of this file.", default=1)
    name: Annotated[str, Field(min_length=1, max_length=80)] | None = option(
        "Title of the report.",
        default=None,
        default_text="what was searched or scaled, and the data",
        values="text of 1 to 80 characters",
        on_resume="may change",
    )
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = option(
        "Score by which all stages compare networks.", default="accuracy"
    )
    run: RunSection = RunSection()
    data: DataSection | None = option(
        "Images. A search whose evaluator needs no images can leave this section out.",
        default=None,
        default_text="no images",
    )
    search: SearchSection = SearchSection()
    scaling: ScalingSection = ScalingSection()
    validation: ValidationSection = ValidationSection()

    @model_validator(mode="after")
    def _check_data(self) -> Self:
        if self.data is None and self.search.evaluator == "proxy" and self.scaling.baseline is None:
            raise invalid(
                "data", "is missing; a configuration needs at least `data: {source: ...}`"
            )
        if self.data is None and self.metric != "accuracy":
            raise invalid(
                "metric",
                f"{self.metric} has no effect without images, because the evaluator computes the "
                "scores; leave it out, and return a Measurement with its metric",
            )
        return self

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        for key, recipe, evaluator in (
            ("search.finalist_recipe", self.search.finalist_recipe, self.search.evaluator),
            ("scaling.recipe", self.scaling.recipe, self.scaling.evaluator),
        ):
            if recipe.check_rates and evaluator != "proxy":
                raise invalid(
                    f"{key}.check_rates",
                    f"has no effect with the evaluator {evaluator}, which has no learning rate; "
                    "leave it out",
                )
        return self

    @model_validator(mode="after")
    def _check_latency_runtime(self) -> Self:
        measures_latency = self.search.cost == "latency" or self.scaling.latency_ms
        if self.run.latency_runtime != "torch" and not measures_latency:
            raise invalid(
                "run.latency_runtime",
                f"{self.run.latency_runtime} has no effect without a measured latency; leave it "
                "out, or set search.cost: latency or scaling.latency_ms",
            )
        return self


def load_config(path: Path, *, expand_values: Callable[[str], str] = plain_values) -> Config:
    """The configuration in a YAML file. Raises InputError as `config_from_dict` does."""
    try:
        data = read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{path}: does not exist; name a configuration file") from None
    except YamlError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return config_from_dict(data, source=str(path), expand_values=expand_values)


def config_from_text(text: str, *, source: str) -> Config:
    """The configuration in a YAML text. Raises InputError as `config_from_dict` does."""
    try:
        return config_from_dict(parse_yaml(text), source=source)
    except YamlError as error:
        raise InputError(f"{source}: {error}") from None


def config_from_dict(
    data: object,
    *,
    source: str,
    names: Mapping[str, str] | None = None,
    expand_values: Callable[[str], str] = plain_values,
) -> Config:
    """Validate plain data as a configuration.

    Args:
        source: What the error messages call the source of `data`, such as a file.
        names: Keys that the user wrote elsewhere, and how, such as {"search.cost": "--cost"}.
        expand_values: Replaces placeholders in the legal values of an error message by names.

    Raises:
        InputError: `data` is not a configuration; one line for each wrong key.
    """
    if data is None or data == {}:
        raise InputError(
            f"{source}: is empty; a configuration needs at least `data: {{source: ...}}`"
        )
    if not isinstance(data, Mapping):
        raise InputError(
            f"{source}: {format_value(data)} is not a mapping of sections; write sections such as "
            "`data: {source: ...}`"
        )
    version = data.get("version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{source}: version: {version} is newer than this phinas reads ({SCHEMA_VERSION}); "
            "upgrade phinas"
        )
    return validate_section(Config, data, source=source, names=names, expand_values=expand_values)


def validate_section(
    section_type: type[SectionType],
    data: Mapping[str, Any],
    *,
    source: str,
    names: Mapping[str, str] | None = None,
    expand_values: Callable[[str], str] = plain_values,
) -> SectionType:
    """Validate `data` as a section of this type.

    Args:
        source: What the error messages call the source of `data`, such as a file.
        names: Keys that the user wrote elsewhere, and how, such as {"search.cost": "--cost"}.
        expand_values: Replaces placeholders in the legal values of an error message by names.

    Raises:
        InputError: Some keys are wrong; one line for each.
    """
    try:
        return section_type.model_validate(dict(data))
    except ValidationError as error:
        problems = find_problems(error, section_type, expand_values)
        raise InputError(
            "\n".join(problem.message(source, names or {}) for problem in problems)
        ) from None


def flatten_section(config: Section) -> dict[str, Any]:
    """The values of a section and of the sections in it, by dotted key."""

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


def merge_config(
    base: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    source: str,
    names: Mapping[str, str] | None = None,
    expand_values: Callable[[str], str] = plain_values,
) -> Config:
    """Validate plain data with the dotted keys of `changes` set; see `config_from_dict`."""
    return config_from_dict(
        apply_overrides(base, changes, source=source),
        source=source,
        names=names,
        expand_values=expand_values,
    )


def apply_overrides(
    base: Mapping[str, Any], changes: Mapping[str, Any], *, source: str
) -> dict[str, Any]:
    """A copy of `base` with the dotted keys of `changes` set, not validated."""
    data = copy.deepcopy(dict(base))

    def set_value(path: str, value: object) -> None:
        *sections, key = path.split(".")
        target = data
        for section in sections:
            if section.endswith("recipe") and isinstance(target.get(section), str):
                target[section] = {"name": target[section]}  # `recipe: full` with one key changed
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise InputError(f"{source}: {path}: {section!r} is a single value and has no keys")
        target[key] = value

    # A recipe's name first, then its keys.
    for path in sorted(changes, key=lambda path: path.count(".")):
        set_value(path, changes[path])
    return data


def check_resumable(
    old: Config, new: Config, *, source: str, unstarted: Collection[str] = ()
) -> None:
    """Check that a run can be resumed with another configuration.

    Args:
        old: The configuration of the run.
        new: The configuration to resume with.
        source: What the error message calls the run.
        unstarted: Sections or dotted keys of a stage without results. These may change.

    Raises:
        InputError: Keys differ that decide recorded results; lists all of them.
    """
    old_values, new_values = flatten_section(old), flatten_section(new)
    changeable, growing = keys_on_resume(Config, "may change"), keys_on_resume(Config, "may grow")
    differences = []
    for path in sorted({*old_values, *new_values}, key=[*old_values, *new_values].index):
        before, after = old_values.get(path), new_values.get(path)
        if before == after or path in changeable or {path, path.partition(".")[0]} & {*unstarted}:
            continue
        if path in growing and before is not None and after is not None and after > before:
            continue
        note = " (it may only grow)" if path in growing else ""
        differences.append(f"{path} was {before!r} and is now {after!r}{note}")
    if differences:
        raise InputError(
            f"{source}: {'; '.join(differences)}. A resumed run cannot change keys that decide its "
            "results; use a new --out for another configuration"
        )
