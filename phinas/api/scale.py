"""`phinas scale`: find the scaling coefficients and make the family."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from phinas.api.arguments import checked_arguments
from phinas.api.keywords import (
    ScaleOptions,
    changes_from_keywords,
    config_from_keywords,
    keyword_keys,
)
from phinas.experiment.errors import InputError
from phinas.options.config_building import changed_config
from phinas.options.groups import (
    BASELINE_KEYS,
    DATA_KEYS,
    FAMILY_KEYS,
    RUN_KEYS,
    SCALING_KEYS,
    is_fixed_by_run,
)

if TYPE_CHECKING:
    from phinas.run_summary import RunSummary


@checked_arguments(DATA_KEYS, BASELINE_KEYS, SCALING_KEYS, FAMILY_KEYS, RUN_KEYS)
def scale(
    directory: str | Path | None = None,
    *,
    baseline: str | Path | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **options: Unpack[ScaleOptions],
) -> "RunSummary":
    """Find alpha, beta and gamma, make the family, write the report.

    Continues a run that has a baseline, or scales your own network in a new run. The same call
    again resumes an interrupted run.

    Args:
        directory: A run directory whose search has ended. It can be combined only with `settings`,
            the scaling options and time_budget, which is then that of the scaling.
        baseline: A preset such as "efficientnet_b0", a spec file or "timm:NAME", which is scaled in
            a new run. Or a function that builds your own PyTorch network, "package.module:build" or
            "path/to/file.py:build": build(*, depth, width, resolution, classes, channels) returns
            a torch.nn.Module for the factors depth and width, which it rounds itself.
        data: The images of a new run: "digits", a path, "hf:NAME" or "torchvision:NAME". None where
            the evaluator trains nothing.
        out: The run directory of a new run.
        settings: Further keys of docs/configuration.md by dotted key.
        quiet: Show no progress.
        **options: The options of `phinas scale`, with underscores: epochs (10), seeds (5, trainings
            of each network), max_grid_members (12), max_budget_fraction (0.4), flops_multiple (2),
            coefficients (three numbers, which are used instead of a search), phi, seed (0), device
            ("auto"), workers ("auto") and the others that `phinas scale --help` lists.

    Returns:
        The coefficients with their intervals, and the path of the report.

    Raises:
        InputError: An argument or the data set is wrong, the run has no baseline yet, or its
            scaling has begun with other settings.
        InUseError: Another process works in the run directory.
        NoResultError: No network of the grid could be trained.

    Examples:
        >>> result = phinas.scale(baseline="efficientnet_b0", data="photos/", out="runs/scaled")
        >>> result.coefficients.beta
        1.1
    """
    from phinas.pipeline import run_next_stage, run_stages

    keys = keyword_keys(DATA_KEYS, BASELINE_KEYS, SCALING_KEYS, FAMILY_KEYS, RUN_KEYS)
    values = {"baseline": baseline, "data": data, **options}
    if directory is not None:
        changes = _changes_of_existing_run({**values, "out": out}, keys, settings)
        config = changed_config(directory, changes)
        return run_next_stage("scale", directory, config=config, quiet=quiet)
    if baseline is None or out is None:
        raise InputError(
            "directory: is missing; name a run directory, or give baseline, data and out"
        )
    config = config_from_keywords(
        "scale", None, values, keys, settings=settings, allow_no_data=True
    )
    return run_stages(config, out=out, stages=("scale", "report"), quiet=quiet)


def _changes_of_existing_run(
    values: Mapping[str, Any], keys: Mapping[str, str], settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Raises InputError where an argument belongs to what an existing run has decided already."""
    unusable = {name for name, key in keys.items() if is_fixed_by_run(key)} | {"out"}
    wrong = [name for name, value in values.items() if value is not None and name in unusable]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)}: cannot be used with directory, because that run has its own "
            "value; use scaling options, time_budget and settings only"
        )
    changes = {name: value for name, value in values.items() if name != "out"}
    return changes_from_keywords("scale", changes, keys, settings)
