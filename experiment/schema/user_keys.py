"""Which keys of a configuration the user has set, and which have their default.

pydantic records for each section which keys it got. A configuration that is merged from others gets
all of them, so it is marked again.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from phinas.experiment.schema.fields import Section

SectionT = TypeVar("SectionT", bound=Section)


def user_keys(config: Section) -> frozenset[str]:
    """The dotted keys that the user has set, sections left out."""
    return frozenset(_flatten(config.model_dump(exclude_unset=True), ""))


def mark_user_keys(config: SectionT, keys: Collection[str]) -> SectionT:
    """Record which keys of a new configuration the user has set.

    Args:
        config: The configuration, which is changed and returned.
        keys: Dotted keys. A section among them stands for all of its keys.
    """
    _mark(config, keys, "")
    return config


def _mark(section: Section, keys: Collection[str], prefix: str) -> None:
    for name in list(section.model_fields_set):
        key, value = f"{prefix}{name}", getattr(section, name)
        if key in keys:
            continue
        if isinstance(value, Section):
            _mark(value, keys, f"{key}.")
            if value.model_fields_set:
                continue
        section.model_fields_set.discard(name)


def _flatten(data: Mapping[str, Any], prefix: str) -> list[str]:
    keys = []
    for name, value in data.items():
        key = f"{prefix}{name}"
        keys += _flatten(value, f"{key}.") if isinstance(value, Mapping) else [key]
    return keys
