"""`phinas audit`: audit a data set."""

from pathlib import Path
from typing import Any

import click

from phinas.options.command import JSON, SAME_COMMAND, Command, path_option, plain_option
from phinas.options.config_building import build_config
from phinas.options.config_option import config_options
from phinas.terminal.output import print_json, quiet


@click.command(cls=Command, resume=SAME_COMMAND)
@click.argument("source", metavar="DATA")
@config_options(
    (
        "data.group_by",
        "data.drop_duplicates",
        "data.label_column",
        "data.image_column",
        "data.min_images_per_class",
        "data.resize_mode",
        "data.skip_bad_images",
        "run.seed",
    ),
    example="data.test_fraction=0.1",
)
@plain_option(
    "--near-duplicates/--no-near-duplicates",
    default=True,
    text="Look for images that look alike, and for dark, bright, blurred and nearly uniform ones. "
    "It takes about half of the time.",
    default_text="on",
)
@path_option("--csv", "Write the files of each problem to this table.", metavar="FILE")
@JSON
def audit(
    source: str,
    settings: tuple[str, ...],
    near_duplicates: bool,
    csv: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Audit a data set: copies, leaks, damaged files, labels and suitable search spaces.

    DATA is digits, a path, hf:NAME or torchvision:NAME, as for --data of phinas run.
    """
    from phinas.api.audit import as_text, audit_config, check_csv_path
    from phinas.terminal.text_table import terminal_width

    if csv is not None:
        check_csv_path(csv)
    config = build_config(
        None, settings, {**options, "data.source": source}, use_quick_config=False
    )
    result = audit_config(config, near_duplicates=near_duplicates, quiet=quiet())
    if csv is not None:
        result.write_csv(csv)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(as_text(result, width=terminal_width()))
