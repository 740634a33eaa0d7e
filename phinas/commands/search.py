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
    Verb,
    config_of,
    configured,
)
from phinas.output import print_summary, quiet


@click.command(cls=Verb)
@CONFIG
@OUT
@configured(SEARCH, BASELINE)
@JSON
def search(
    config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Only the search for a baseline (and its report)."""
    from phinas import pipeline

    print_summary(
        pipeline.search(config_of(config, settings, options, quick=False), out=out, quiet=quiet()),
        as_json,
    )
