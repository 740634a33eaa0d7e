"""`phinas search`: search for a baseline network."""

from pathlib import Path
from typing import Any

import click

from phinas.options.command import CONFIG, JSON, OUT, Command
from phinas.options.config_building import build_config
from phinas.options.config_option import config_options
from phinas.options.groups import DATA_KEYS, RESOLUTION_KEYS, RUN_KEYS, SEARCH_KEYS
from phinas.terminal.output import print_summary, quiet


@click.command(cls=Command)
@CONFIG
@OUT
@config_options(DATA_KEYS, SEARCH_KEYS, RESOLUTION_KEYS, RUN_KEYS, example="search.finalists=8")
@JSON
def search(
    config: Path | None, out: Path, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Search for a baseline network.

    Writes the network and a report, and scales nothing. CONFIG is a YAML file. Options override
    it. Without CONFIG, --data is required, except with an evaluator that needs no images.
    """
    from phinas.api.search import search as run_search

    run_config = build_config(config, settings, options, use_quick_config=False)
    print_summary(run_search(config=run_config, out=out, quiet=quiet()), as_json)
