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
    Verb,
    config_of,
    configured,
)
from phinas.output import print_json


@click.command(cls=Verb)
@CONFIG
@configured(SEARCH, BASELINE, FAMILY)
@JSON
def plan(config: Path | None, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """What a run will cost (trainings, FLOPs, hours on this device) before it is spent."""
    from phinas.api.plan import as_text
    from phinas.api.plan import plan as make_plan

    facts = make_plan(config_of(config, settings, options, quick=True))
    if as_json:
        print_json(facts)
        return
    click.echo(as_text(facts))
