"""The configuration of a command: its file, then its options, then --set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config, load_config, merge_config
from phinas.experiment.schema.user_keys import mark_user_keys, user_keys
from phinas.options import key_names
from phinas.options.names import check_names, expand_names
from phinas.space.yaml_io import YamlError, parse_yaml

_QUICK_CONFIG = Path(__file__).parents[1] / "experiment" / "configs" / "quick.yaml"


def build_config(
    path: Path | None,
    settings: tuple[str, ...],
    options: Mapping[str, Any],
    *,
    use_quick_config: bool,
    allow_no_data: bool = False,
    names: Mapping[str, str] | None = None,
) -> Config:
    """The configuration of a new run.

    Args:
        path: The configuration file.
        settings: The values of --set.
        options: The values of the options, by parameter name or dotted key.
        use_quick_config: Use the quick start on digits where neither file nor --data is given.
        allow_no_data: Accept a configuration without images.
        names: How the user wrote a key, where that is not known from the command line.
    """
    changes = option_values(options) | parse_settings(settings)
    if path is None and use_quick_config and "data.source" not in changes:
        path = _QUICK_CONFIG
    needs_images = changes.get("search.evaluator", "proxy") == "proxy" and not allow_no_data
    if path is None and "data.source" not in changes and needs_images:
        raise InputError("--data: is missing; name the images, or give a configuration file")
    file = load_config(path, expand_values=expand_names) if path else None
    base = {} if file is None else file.model_dump()
    source = str(path) if path and not changes else "configuration"
    names = written_names(settings) if names is None else names
    config = merge_changes(base, changes, source=source, names=names)
    keys_of_file = user_keys(file) if file is not None and path != _QUICK_CONFIG else ()
    return mark_user_keys(config, {*keys_of_file, *changes})


def updated_config(
    directory: Path, settings: tuple[str, ...], options: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of an existing run with options and --set applied."""
    changes = option_values(options or {}) | parse_settings(settings)
    return changed_config(directory, changes, names=written_names(settings))


def changed_config(
    directory: str | Path, changes: Mapping[str, Any], *, names: Mapping[str, str] | None = None
) -> Config:
    """The configuration of an existing run with dotted keys changed.

    Args:
        directory: The run directory.
        changes: The new values by dotted key.
        names: How the user wrote each key.
    """
    from phinas.run_context import read_config

    base = read_config(RunDir(directory)).model_dump()
    config = merge_changes(base, changes, source=str(directory), names=names or {})
    return mark_user_keys(config, changes)


def merge_changes(
    base: Mapping[str, Any], changes: Mapping[str, Any], *, source: str, names: Mapping[str, str]
) -> Config:
    """A configuration with dotted keys changed; names that come from a table are checked.

    Args:
        base: The plain data of the configuration.
        changes: The new values by dotted key.
        source: What error messages call the configuration.
        names: How the user wrote each key.
    """
    config = merge_config(base, changes, source=source, names=names, expand_values=expand_names)
    check_names(config, names)
    return config


def option_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the options that are set, by dotted key."""
    return {name.replace("__", "."): value for name, value in options.items() if value is not None}


def written_names(settings: tuple[str, ...]) -> dict[str, str]:
    """How the user wrote each key on the command line: {"search.cost": "--cost"}."""
    return key_names.written_names(click.get_current_context(silent=True), parse_settings(settings))


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """The values of --set, by dotted key. Values are YAML."""
    changes = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(
                f"--set: {setting!r} has no value; write KEY=VALUE, such as search.trials=50"
            )
        changes[key.strip()] = _parse_value(text)
    return changes


def _parse_value(text: str) -> Any:
    try:
        return parse_yaml(text)
    except YamlError:
        return text
