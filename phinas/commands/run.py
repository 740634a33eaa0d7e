"""`phinas run`: search, scale, validate and report in one call."""

from pathlib import Path
from typing import Any

import click

from phinas.options import (
    BASELINE,
    CONFIG,
    FAMILY,
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
@config_options(SEARCH, BASELINE, FAMILY)
@JSON
def run(
    config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """All of it: search, scale, validate, report. Without a configuration or --data: the quick
    start on digits.
    """
    from phinas import pipeline

    print_summary(
        pipeline.run(
            build_config(config, settings, options, use_quick_config=True), out=out, quiet=quiet()
        ),
        as_json,
    )
