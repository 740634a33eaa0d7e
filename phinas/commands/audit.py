"""`phinas audit`: audit a data set."""

from typing import Any

import click

from phinas.options.command import JSON, SAME_COMMAND, Command
from phinas.options.config_building import build_config
from phinas.options.config_option import config_options
from phinas.terminal.output import print_json


@click.command(cls=Command, resume=SAME_COMMAND)
@click.argument("source", metavar="DATA")
@config_options(
    ("data.group_by", "data.skip_bad_images", "run.seed"), example="data.test_fraction=0.1"
)
@JSON
def audit(source: str, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Audit a data set: classes, problems and suitable search spaces.

    DATA is digits, a path, hf:NAME or torchvision:NAME, as for --data of phinas run.
    """
    from phinas.api.audit import as_text, audit_config
    from phinas.terminal.text_table import terminal_width

    config = build_config(
        None, settings, {**options, "data.source": source}, use_quick_config=False
    )
    result = audit_config(config)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(as_text(result, width=terminal_width()))
