"""`phinas scale`: find alpha, beta, gamma and the family."""

from pathlib import Path
from typing import Any

import click

from phinas.experiment.errors import InputError
from phinas.options import (
    BASELINE,
    FAMILY,
    JSON,
    SCALING,
    Command,
    build_config,
    config_options,
    updated_config,
)
from phinas.terminal.output import print_json, print_summary, quiet


@click.command(cls=Command)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="With --baseline: the run directory.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the networks that would be compared and what that costs; train nothing.",
)
@click.option(
    "--compare-published",
    "published",
    is_flag=True,
    help="Show the published B1..B7 beside what the rule makes of B0.",
)
@config_options(SCALING, BASELINE, FAMILY)
@JSON
def scale(
    directory: Path | None,
    out: Path | None,
    dry_run: bool,
    published: bool,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """alpha, beta, gamma and the family: for the baseline of a run (DIRECTORY), or for --baseline
    with --data and --out.
    """
    from phinas import pipeline

    if directory is not None:
        inapplicable = [
            name
            for name, value in options.items()
            if value is not None and not _applies_to_existing_run(name)
        ]
        if inapplicable or out:
            names = ", ".join(name.replace("__", ".") for name in inapplicable) or "--out"
            raise InputError(
                f"scale DIRECTORY takes {names} from the run; only --set and options of the "
                "scaling go with it"
            )
    if dry_run or published:
        _preview(directory, settings, options, published=published, as_json=as_json)
        return
    if directory is not None:
        print_summary(
            pipeline.scale(
                directory, config=updated_config(directory, settings, options), quiet=quiet()
            ),
            as_json,
        )
        return
    if options["scaling__baseline"] is None or out is None:
        raise InputError("scale: name a run directory, or --baseline with --data and --out")
    config = build_config(None, settings, options, use_quick_config=False, allow_no_data=True)
    print_summary(pipeline.run(config, out=out, stages=("scale", "report"), quiet=quiet()), as_json)


def _applies_to_existing_run(name: str) -> bool:
    return name.startswith("scaling__") and name != "scaling__baseline"


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
    from phinas.terminal.text_table import terminal_width

    if directory is None:
        config = build_config(None, settings, options, use_quick_config=False, allow_no_data=True)
    else:
        config = updated_config(
            directory, (*settings, f"scaling.baseline={RunDir(directory).baseline}"), options
        )
    if published:
        rows = scale_preview.compare_with_published(config)
        if as_json:
            print_json(scale_preview.published_as_dict(rows))
        else:
            click.echo(scale_preview.published_as_text(rows, width=terminal_width()))
        return
    result = scale_preview.dry_run(config)
    if as_json:
        print_json(result)
    else:
        click.echo(scale_preview.grid_as_text(result, width=terminal_width()))
