"""`phinas plan`: estimate what a run costs."""

from pathlib import Path
from typing import Any

import click

from phinas.options.command import CONFIG, JSON, SAME_COMMAND, Command, plain_option
from phinas.options.config_building import build_config
from phinas.options.config_option import config_options
from phinas.options.groups import BASELINE_KEYS, DATA_KEYS, FAMILY_KEYS, RUN_KEYS, SEARCH_KEYS
from phinas.terminal.output import print_json, quiet


@click.command(cls=Command, resume=SAME_COMMAND)
@CONFIG
@config_options(DATA_KEYS, SEARCH_KEYS, BASELINE_KEYS, FAMILY_KEYS, RUN_KEYS)
@plain_option(
    "--check-proxy",
    is_flag=True,
    group="Search",
    text="Train 8 random networks of the search space as the search would, and "
    "search.repeated_networks of them again with another seed. Shows whether such scores rank "
    "networks reliably, and what to raise if not.",
)
@JSON
def plan(
    config: Path | None,
    settings: tuple[str, ...],
    check_proxy: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Estimate the trainings, FLOPs and hours of a run.

    The hours are those on this device, from the timed steps of a few networks. Nothing is
    trained, except with --check-proxy. Also shows the settings that reduce the time most, and
    with --time-budget what it would change. CONFIG is a YAML file. Options override it. Without
    CONFIG and --data, this estimates the quick start of phinas run.
    """
    from phinas.api.plan import as_text
    from phinas.api.plan import plan as make_plan
    from phinas.terminal.text_table import terminal_width

    run_config = build_config(config, settings, options, use_quick_config=True)
    result = make_plan(config=run_config, check_proxy=check_proxy, quiet=quiet())
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(as_text(result, width=terminal_width()))
