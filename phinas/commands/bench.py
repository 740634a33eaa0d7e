"""`phinas bench`: comparison of search strategies."""

from pathlib import Path
from typing import Annotated, Any

import click
from pydantic import Field

from phinas.options.command import (
    BASIC,
    JSON,
    SAME_COMMAND,
    Command,
    path_option,
    plain_option,
    set_option,
)
from phinas.options.command_group import CommandGroup
from phinas.options.config_building import build_config, parse_settings
from phinas.options.config_option import config_option
from phinas.terminal.output import print_json, quiet


@click.group(cls=CommandGroup)
def bench() -> None:
    """Compare search strategies on a benchmark that trains nothing."""


@bench.command(
    cls=Command,
    resume=SAME_COMMAND,
    interrupt_message="finished runs are saved; to resume, run the same command again",
)
@config_option(
    "search.evaluator",
    required=True,
    meaning="What scores a network. It looks up or computes the score and trains nothing.",
    values="accel-nasbench:PATH, curves:FILE or package.module:function",
)
@path_option(
    "--out",
    "Directory of the results, which is created or resumed.",
    required=True,
    metavar="DIRECTORY",
    group=BASIC,
)
@config_option("search.space")
@config_option("search.trials", default=400)
@plain_option(
    "--seeds",
    annotation=Annotated[int, Field(ge=1)],
    default=20,
    metavar="N",
    group=BASIC,
    text="Number of runs of each strategy, with the seeds 0 to N - 1.",
    default_text="20",
)
@plain_option(
    "--strategies",
    metavar="A,B,...",
    group=BASIC,
    text="Strategies to compare, separated by commas: of phinas, optuna-random, optuna-tpe, "
    "optuna-gp, optuna-nsga2, syne-tune-rea, or your own as package.module:Class.",
    default_text="all that the evaluator suits, but optuna-gp, whose proposals take several times "
    "as long",
)
@config_option(
    "search.reward",
    meaning="How score and cost are combined into one number. soft and hard are MnasNet's rewards, "
    "absolute is TuNAS's, and accuracy is the score alone.",
    values="soft, hard, absolute or accuracy",
)
@config_option("search.max_flops")
@config_option(
    "search.noise_std",
    flag_value="0.0031",
    meaning="Standard deviation of the noise that is added to the scores. Without X it is 0.0031, "
    "the training noise of Accel-NASBench.",
)
@plain_option(
    "--target-network",
    metavar="SPEC",
    group="Search",
    text="Network to beat. The result says how many trials each strategy needs for a higher "
    "reward.",
    values="a preset, a spec file, or base for the base network of the search space",
    default_text="base, or none if the evaluator is your own function",
)
@plain_option(
    "--optimum",
    annotation=float,
    metavar="REWARD",
    group="Search",
    text="Highest reward without noise, to which the regret is relative.",
    default_text="the attribute optimum of your function if --reward is accuracy and FLOPs have no "
    "limit, otherwise the best known reward",
)
@plain_option(
    "--workers",
    annotation=Annotated[int, Field(ge=1, le=256)],
    metavar="N",
    group="Hardware and run",
    text="Number of runs at the same time.",
    default_text="one for each CPU core",
)
@set_option("search.cost=params")
@JSON
def strategies(
    *,
    strategies: str | None,
    seeds: int,
    target_network: str | None,
    optimum: float | None,
    workers: int | None,
    out: Path,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the regret of each search strategy.

    Every strategy searches with several seeds. The regret after n trials is the best reward in the
    search space minus the reward of the best network so far. Writes bench.md, bench.json,
    regret.svg and regret.png to --out, and the networks of each run to --out/runs. A function with
    a parameter `choices` gets the choices of a network, as the tables of NAS benchmarks need.
    """
    from phinas.api.bench import BenchRequest, as_text, run_bench
    from phinas.bench_pipeline.checks import require_bench_keys, require_lookup
    from phinas.terminal.text_table import terminal_width

    require_lookup(options["search__evaluator"])
    names = None if strategies is None else [name.strip() for name in strategies.split(",")]
    config = build_config(None, settings, options, use_quick_config=False, allow_no_data=True)
    require_bench_keys(parse_settings(settings))
    request = BenchRequest(config.search, out, names, seeds, target_network, optimum, workers)
    result = run_bench(request, quiet=quiet())
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(as_text(result, width=terminal_width()))
