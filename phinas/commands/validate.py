"""`phinas validate`: train the family and measure it on the test split."""

from pathlib import Path

import click

from phinas.options.command import DIRECTORY, JSON, Command, set_option
from phinas.options.config_building import updated_config
from phinas.terminal.output import print_summary, quiet


@click.command(cls=Command)
@DIRECTORY
@set_option("validation.seeds=5")
@JSON
def validate(directory: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Train the family of a run and measure it on the test split.

    DIRECTORY is the run directory. Members with more than validation.max_flops_multiple times the
    baseline's FLOPs are not trained.
    """
    from phinas.pipeline import run_next_stage

    config = updated_config(directory, settings)
    print_summary(run_next_stage("validate", directory, config=config, quiet=quiet()), as_json)
