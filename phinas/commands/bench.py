"""`phinas bench`: comparison of search strategies."""

from pathlib import Path
from typing import Any

import click

from phinas.experiment.errors import InputError
from phinas.options import JSON, SET, build_config, parse_settings
from phinas.terminal.output import print_json, quiet


@click.group()
def bench() -> None:
    """Hold searchers against each other."""


@bench.command()
@click.option(
    "--evaluator", required=True, help="accel-nasbench:PATH, or your own package.module:function."
)
@click.option("--space", help="The space that is searched; without it the evaluator's own.")
@click.option(
    "--evaluations",
    type=click.IntRange(2),
    default=400,
    show_default=True,
    help="Networks a run may measure.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=20, show_default=True, help="Runs of each searcher."
)
@click.option(
    "--noise-std",
    is_flag=False,
    flag_value="0.0031",
    type=float,
    default=0.0,
    help="Standard deviation added to accuracies; without a number that of Accel-NASBench's "
    "trainings, 0.0031.",
)
@click.option(
    "--strategies", help="Which, separated by commas; without it all of ours and other libraries'."
)
@click.option(
    "--reference",
    help="A preset or spec file that is to be beaten; without it the base of the space.",
)
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Runs at a time; without it one a core."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A directory, new or to be carried on.",
)
@SET
@JSON
def strategies(
    strategies: str | None,
    evaluations: int,
    seeds: int,
    reference: str | None,
    workers: int | None,
    out: Path,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Regret over evaluations of each search strategy: bench.md, bench.json, regret.svg and .png in
    --out.
    """
    from phinas.api.bench import as_text, require_bench_keys
    from phinas.api.bench import bench as run_bench
    from phinas.terminal.text_table import terminal_width

    if options["evaluator"] == "proxy":
        raise InputError(
            "--evaluator: proxy trains networks; name accel-nasbench:PATH or your own "
            "package.module:function"
        )
    config_values = {
        f"search.{name}": value for name, value in options.items() if value is not None
    } | {"search.trials": evaluations}
    strategy_argument = (
        {}
        if strategies is None
        else {"strategies": [name.strip() for name in strategies.split(",")]}
    )
    config = build_config(None, settings, config_values, use_quick_config=False)
    require_bench_keys(parse_settings(settings))
    result = run_bench(
        config.search,
        out=out,
        seeds=seeds,
        reference=reference,
        workers=workers,
        quiet=quiet(),
        **strategy_argument,
    )
    if as_json:
        print_json(result)
        return
    click.echo(as_text(result, width=terminal_width()))
