"""`phinas scale`: find alpha, beta, gamma and the family."""

from pathlib import Path
from typing import Any

import click

from phinas.experiment.errors import InputError
from phinas.options.command import BASIC, JSON, Command, path_option, plain_option
from phinas.options.config_building import build_config, option_values, updated_config
from phinas.options.config_option import config_options, flag_name
from phinas.options.groups import (
    BASELINE_KEYS,
    DATA_KEYS,
    FAMILY_KEYS,
    RUN_KEYS,
    SCALING_KEYS,
    is_fixed_by_run,
)
from phinas.terminal.output import print_json, print_summary, quiet


@click.command(cls=Command)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@path_option(
    "--out",
    "Run directory of the run that --baseline starts. It is created or resumed.",
    metavar="DIRECTORY",
    group=BASIC,
)
@plain_option(
    "--dry-run",
    is_flag=True,
    group="Scaling and family",
    text="Show the networks of the grid and their cost. Nothing is trained.",
)
@plain_option(
    "--compare-published",
    "published",
    is_flag=True,
    group="Scaling and family",
    text="Compare the published EfficientNet B1 to B7 with compound scaling of B0. Nothing is "
    "trained.",
)
@config_options(BASELINE_KEYS, DATA_KEYS, SCALING_KEYS, FAMILY_KEYS, RUN_KEYS)
@JSON
def scale(
    *,
    directory: Path | None,
    out: Path | None,
    dry_run: bool,
    published: bool,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Find the scaling coefficients and make a family of networks.

    The coefficients alpha, beta and gamma scale depth, width and resolution. Scales the
    baseline of the run in DIRECTORY. Only scaling options, --time-budget (of the scaling) and --set
    can then be used. Without DIRECTORY, scales the network of --baseline on the images of --data,
    as a new run in --out.

    --baseline also accepts a function that builds your own PyTorch network, such as
    path/to/file.py:build. It is called as build(depth=..., width=..., resolution=..., classes=...,
    channels=...) with factors of depth and width, which it rounds itself.
    """
    from phinas.pipeline import run_next_stage, run_stages

    if directory is not None:
        _check_options_of_existing_run(options, out)
    if dry_run or published:
        _preview(directory, settings, options, published=published, as_json=as_json)
        return
    if directory is not None:
        config = updated_config(directory, settings, options)
        print_summary(run_next_stage("scale", directory, config=config, quiet=quiet()), as_json)
        return
    if options["scaling__baseline"] is None or out is None:
        raise InputError(
            "DIRECTORY: is missing; name a run directory, or use --baseline with --data and --out"
        )
    config = build_config(None, settings, options, use_quick_config=False, allow_no_data=True)
    print_summary(run_stages(config, out=out, stages=("scale", "report"), quiet=quiet()), as_json)


def _check_options_of_existing_run(options: dict[str, Any], out: Path | None) -> None:
    """Raises InputError where an option belongs to what an existing run has decided already."""
    wrong = [flag_name(key) for key in option_values(options) if is_fixed_by_run(key)]
    wrong += ["--out"] if out is not None else []
    if wrong:
        raise InputError(
            f"{', '.join(wrong)}: cannot be used with DIRECTORY, because that run has its own "
            "value; use only scaling options, --time-budget and --set"
        )


def _preview(
    directory: Path | None,
    settings: tuple[str, ...],
    options: dict[str, Any],
    *,
    published: bool,
    as_json: bool,
) -> None:
    from phinas.api import scale_preview
    from phinas.experiment.run_dir import RunDir
    from phinas.planning.scaling_budget import plannable_config
    from phinas.terminal.text_table import terminal_width

    if directory is None:
        config = build_config(None, settings, options, use_quick_config=False, allow_no_data=True)
    else:
        config = plannable_config(updated_config(directory, settings, options), RunDir(directory))
    if published:
        rows = scale_preview.compare_with_published(config)
        if as_json:
            print_json(scale_preview.published_as_dict(rows))
        else:
            click.echo(scale_preview.published_as_text(rows, width=terminal_width()))
        return
    # What the search of an existing run has used cannot change.
    result = scale_preview.dry_run(config, reducible="scaling." if directory else "")
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(scale_preview.grid_as_text(result, width=terminal_width()))
