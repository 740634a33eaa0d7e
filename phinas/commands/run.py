"""`phinas run`: search, scale, validate and report in one call."""

from pathlib import Path
from typing import Any

import click

from phinas.options.command import CONFIG, JSON, OUT, Command
from phinas.options.config_building import build_config
from phinas.options.config_option import config_options
from phinas.options.groups import BASELINE_KEYS, DATA_KEYS, FAMILY_KEYS, RUN_KEYS, SEARCH_KEYS
from phinas.terminal.output import print_summary, quiet


@click.command(cls=Command)
@CONFIG
@OUT
@config_options(DATA_KEYS, SEARCH_KEYS, BASELINE_KEYS, FAMILY_KEYS, RUN_KEYS)
@JSON
def run(
    config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Search, scale, validate and report in one call.

    Searches for a baseline network, finds its scaling coefficients, trains the family and
    writes the report. CONFIG is a YAML file. Options override it. Without CONFIG and --data,
    this runs the quick start on scikit-learn's digits, which takes a few minutes.
    """
    from phinas.api.run import run as run_all

    run_config = build_config(config, settings, options, use_quick_config=True)
    print_summary(run_all(config=run_config, out=out, quiet=quiet()), as_json)
