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
    Verb,
    config_of,
    configured,
)
from phinas.output import print_summary, quiet


@click.command(cls=Verb)
@CONFIG
@OUT
@configured(SEARCH, BASELINE, FAMILY)
@JSON
def run(
    config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """All of it: search, scale, validate, report. Without a configuration or --data: the quick
    start on digits.
    """
    from phinas import pipeline

    print_summary(
        pipeline.run(config_of(config, settings, options, quick=True), out=out, quiet=quiet()),
        as_json,
    )
