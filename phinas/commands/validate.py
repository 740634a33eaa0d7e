"""`phinas validate`: train the family and measure it on the test split."""

from pathlib import Path

import click

from phinas.options import (
    DIRECTORY,
    JSON,
    SET,
    Command,
    updated_config,
)
from phinas.terminal.output import print_summary, quiet


@click.command(cls=Command)
@DIRECTORY
@SET
@JSON
def validate(directory: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Train the affordable members of a run's family and measure them on the test split."""
    from phinas import pipeline

    print_summary(
        pipeline.validate(directory, config=updated_config(directory, settings), quiet=quiet()),
        as_json,
    )
