"""`phinas plan`: what a run will cost."""

from pathlib import Path
from typing import Any

import click

from phinas.options import (
    BASELINE,
    CONFIG,
    FAMILY,
    JSON,
    SEARCH,
    Command,
    build_config,
    config_options,
)
from phinas.terminal.output import print_json


@click.command(cls=Command)
@CONFIG
@config_options(SEARCH, BASELINE, FAMILY)
@JSON
def plan(config: Path | None, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """What a run will cost (trainings, FLOPs, hours on this device) before it is spent."""
    from phinas.api.plan import as_text
    from phinas.api.plan import plan as make_plan
    from phinas.terminal.text_table import terminal_width

    result = make_plan(build_config(config, settings, options, use_quick_config=True))
    if as_json:
        print_json(result)
        return
    click.echo(as_text(result, width=terminal_width()))
