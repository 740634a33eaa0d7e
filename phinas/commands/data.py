"""`phinas data`: what a data set holds."""

from typing import Any

import click

from phinas.options import JSON, SET, Command, build_config
from phinas.terminal.output import print_json


@click.command(cls=Command)
@click.argument("source", metavar="DATA")
@click.option("--seed", type=int, default=0, help="Of the splits.")
@click.option("--skip-bad-images", is_flag=True, help="Leave unreadable images out and count them.")
@click.option(
    "--group-by", help="Column, key, or regular expression over paths: a group is in one split."
)
@SET
@JSON
def data(
    source: str,
    seed: int,
    skip_bad_images: bool,
    group_by: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Describe the images of DATA: sizes, classes, problems, and the resolutions and spaces that
    they are large enough for.
    """
    from phinas.api import data
    from phinas.terminal.text_table import terminal_width

    options: dict[str, Any] = {
        "data.source": source,
        "data.group_by": group_by,
        "data.skip_bad_images": skip_bad_images,
        "run.seed": seed,
    }
    config = build_config(None, settings, options, use_quick_config=False)
    result = data.data(config.data, seed=config.run.seed)
    if as_json:
        print_json(result)
    else:
        click.echo(data.as_text(result, width=terminal_width()))
