"""`phinas search`: search for a baseline network."""

from pathlib import Path
from typing import Any

import click

from phinas.options import (
    BASELINE,
    CONFIG,
    JSON,
    OUT,
    SEARCH,
    Command,
    build_config,
    config_options,
)
from phinas.terminal.output import print_summary, quiet


@click.command(cls=Command)
@CONFIG
@OUT
@config_options(SEARCH, BASELINE)
@JSON
def search(
    config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Only the search for a baseline (and its report)."""
    from phinas import pipeline

    print_summary(
        pipeline.search(
            build_config(config, settings, options, use_quick_config=False), out=out, quiet=quiet()
        ),
        as_json,
    )
