"""Keyword arguments of the Python functions: the options of the command line.

An option `--max-flops` is a keyword `max_flops`, with the same default. Meaning, unit and legal
values are in docs/configuration.md.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, TypedDict

from phinas.experiment.schema.config import Config
from phinas.experiment.schema.user_keys import mark_user_keys, user_keys
from phinas.options.config_building import build_config, merge_changes
from phinas.options.config_option import flag_name
from phinas.space.closest_name import suggest_name


class _TrainingOptions(TypedDict, total=False):
    """Options of every function that trains on images."""

    group_by: str
    drop_duplicates: bool
    label_column: str
    image_column: str
    min_images_per_class: int
    resize_mode: str
    upsample: bool
    skip_bad_images: bool
    recipe: str | Mapping[str, Any]
    epochs: int
    resolution: int
    seed: int
    device: str
    threads: int | str
    deterministic: bool


class FitOptions(_TrainingOptions, total=False):
    """Options of `phinas fit`."""

    weights: str
    normalization: str
    batch_size: int
    freeze_backbone: bool
    pretrained_reference: str
    max_minutes: float
    onnx: bool


class _StageOptions(_TrainingOptions, total=False):
    """Options of every function that starts a run."""

    metric: str
    evaluator: str
    strategy: str
    coefficients: str | Sequence[float]
    phi: Sequence[float]
    family_flops: Sequence[float | str]
    family_params: Sequence[float | str]
    family_latency_ms: Sequence[float]
    family_max_resolution: int
    pretrained_reference: str
    time_budget: float | str
    runtime: str
    workers: int | str
    trials_per_gpu: int
    storage: str


class RunOptions(_StageOptions, total=False):
    """Options of `phinas run`, `phinas search` and `phinas plan`."""

    space: str
    trials: int
    max_flops: float | str
    min_flops: float | str
    pruner: str
    learn_from: Sequence[str]
    reward: str
    cost: str
    reward_exponent: float | str
    target_cost: float | str
    reference: str
    baseline: str


class ScaleOptions(_StageOptions, total=False):
    """Options of `phinas scale`. Those of the images are for a new run only."""

    seeds: int
    max_grid_members: int
    max_budget_fraction: float
    constraint: str
    flops_multiple: float
    tolerance: float
    grid_phi: float
    grid_step: float | Sequence[float]
    rounding: str


def keyword_keys(*groups: Sequence[str]) -> dict[str, str]:
    """The configuration key of each keyword, such as {"epochs": "recipe.epochs"}.

    Args:
        groups: Dotted keys that have an option.
    """
    return {
        flag_name(key).removeprefix("--").replace("-", "_"): key
        for group in groups
        for key in group
    }


def values_by_key(
    function: str, options: Mapping[str, Any], keys: Mapping[str, str]
) -> dict[str, Any]:
    """The values of keyword arguments by dotted key. Arguments that are None are left out.

    Args:
        function: The name of the function that was called.
        options: Its keyword arguments.
        keys: The dotted key of each legal keyword.

    Raises:
        TypeError: A keyword is not legal; says the closest one.
    """
    for name in options:
        if name not in keys:
            suggestion = suggest_name(name, keys)
            hint = f"; {suggestion}" if suggestion else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
    return {keys[name]: plain_value(value) for name, value in options.items() if value is not None}


def plain_value(value: Any) -> Any:
    """A number of another library, such as numpy's int64, as a number of Python; a path as text."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def config_from_keywords(
    function: str,
    config: Config | str | Path | None,
    options: Mapping[str, Any],
    keys: Mapping[str, str],
    *,
    settings: Mapping[str, Any] | None = None,
    use_quick_config: bool = False,
    allow_no_data: bool = False,
) -> Config:
    """The configuration of a call, as the command of the same name builds it.

    Args:
        function: The name of the function that was called.
        config: A configuration, or the path of a YAML file. None: the defaults.
        options: The keyword arguments of the function.
        keys: The dotted key of each legal keyword.
        settings: Further keys of the configuration by dotted key.
        use_quick_config: Use the quick start on digits where neither configuration nor images are
            given.
        allow_no_data: Accept a configuration without images.

    Raises:
        InputError: A value is not legal.
    """
    changes = changes_from_keywords(function, options, keys, settings)
    names = {key: name for name, key in keys.items() if name in options}
    if isinstance(config, Config):
        merged = merge_changes(config.model_dump(), changes, source="configuration", names=names)
        return mark_user_keys(merged, {*user_keys(config), *changes})
    return build_config(
        None if config is None else Path(config),
        (),
        changes,
        use_quick_config=use_quick_config,
        allow_no_data=allow_no_data,
        names=names,
    )


def changes_from_keywords(
    function: str,
    options: Mapping[str, Any],
    keys: Mapping[str, str],
    settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The values of keyword arguments and of `settings` by dotted key; `settings` win."""
    return values_by_key(function, options, keys) | dict(settings or {})
