"""`phinas bench strategies`: search strategies compared on an evaluator that trains nothing."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from phinas.adapt_to_data import search_space_name
from phinas.api.arguments import checked_arguments
from phinas.api.keywords import values_by_key
from phinas.bench_pipeline.checks import (
    INSTALL_COMMAND,
    installed_strategies,
    require_bench_directory,
    require_bench_keys,
    require_comparable,
    require_cost_limits,
    require_lookup,
    require_optimum,
)
from phinas.bench_pipeline.runs import make_runs, read_runs, run_missing
from phinas.bench_pipeline.yardsticks import find_optimum, measure_target, stated_optimum
from phinas.experiment.artifacts.bench import BenchRun, BenchSummary
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark.regret import summarize_runs
from phinas.nas.benchmark.runner import default_strategies
from phinas.nas.evaluators import make_evaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.pruning import require_reports
from phinas.options.config_building import build_config
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.terminal.progress import Display
from phinas.terminal.text_table import Column, format_table

DEFAULT_TRIALS = 400
DEFAULT_SEEDS = 20
_CALL_SECONDS = 3600.0  # limit of one call of a user's function
_KEYWORD_KEYS = {
    "space": "search.space",
    "trials": "search.trials",
    "reward": "search.reward",
    "max_flops": "search.max_flops",
    "noise_std": "search.noise_std",
}


class BenchOptions(TypedDict, total=False):
    """Options of `phinas bench strategies`; all but `optimum` are keys of the configuration."""

    space: str
    trials: int
    reward: str
    max_flops: float | str
    noise_std: float
    optimum: float | None


@dataclass(frozen=True)
class BenchRequest:
    """A benchmark.

    Attributes:
        section: Evaluator, search space, reward and number of evaluations.
        out: The directory of the results.
        strategies: The names of the strategies. None: all that the evaluator suits, but optuna-gp.
        seeds: The number of runs of each strategy.
        target_network: A preset or spec file whose reward strategies should exceed, or "base" for
            the base network of the search space. None: the base network, or none if the evaluator
            is a user's function.
        optimum: The highest reward without noise, to which regret is relative. None: the one that
            the evaluator states, or the best known one.
        workers: Runs at a time. None: one for each CPU core.
    """

    section: SearchSection
    out: Path
    strategies: Sequence[str] | None = None
    seeds: int = DEFAULT_SEEDS
    target_network: str | None = None
    optimum: float | None = None
    workers: int | None = None


@checked_arguments(tuple(_KEYWORD_KEYS.values()))
def bench(
    evaluator: str,
    *,
    out: str | Path,
    strategies: str | Sequence[str] | None = None,
    seeds: int = DEFAULT_SEEDS,
    target_network: str | None = None,
    workers: int | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **options: Unpack[BenchOptions],
) -> BenchSummary:
    """Compare search strategies by their regret on an evaluator that trains nothing.

    The same call again resumes; seeds and strategies can be added. Writes bench.json, bench.md,
    regret.svg and regret.png to `out`.

    Args:
        evaluator: "accel-nasbench:PATH", "curves:FILE", or your own "package.module:function".
        out: The directory of the results, which is created or resumed.
        strategies: Names, in a list or separated by commas, of strategies of phinas and of other
            libraries, or your own as "package.module:Class". None: all that the evaluator suits,
            but optuna-gp, whose proposals take several times as long.
        seeds: Number of runs of each strategy, with the seeds 0 to `seeds` - 1.
        target_network: A preset or spec file whose reward the strategies should exceed, or "base"
            for the base network of the search space. None: the base network, or none if the
            evaluator is your own function.
        workers: Runs at a time. None: one for each CPU core.
        settings: Further keys `search.*` of docs/configuration.md by dotted key, such as
            {"search.cost": "params"}.
        quiet: Show no progress.
        **options: space (the evaluator's own), trials of each run (400), reward ("soft"), max_flops
            (no limit), noise_std, the standard deviation of noise that is added to the scores (0),
            and optimum, the highest reward without noise, to which regret is relative (the
            attribute `optimum` of your function if the reward is "accuracy", otherwise the best
            known reward).

    Returns:
        For each strategy its regret, and the evaluations that it needs.

    Raises:
        InputError: An argument is wrong, or `out` holds something else.
        InUseError: Another process uses `out`.
        NoResultError: A run failed.

    Examples:
        >>> summary = phinas.bench("my_module:score", space="space.yaml", out="bench", seeds=5)
        >>> summary.strategies["bayesian"].final_regret.median
        0.0012
    """
    require_lookup(evaluator)
    require_bench_keys(settings or {})
    optimum = options.pop("optimum", None)
    values = values_by_key("bench", options, _KEYWORD_KEYS) | dict(settings or {})
    values = {"search.evaluator": evaluator, "search.trials": DEFAULT_TRIALS} | values
    names = {key: name for name, key in _KEYWORD_KEYS.items() if name in options}
    names["search.evaluator"] = "evaluator"
    config = build_config(None, (), values, use_quick_config=False, names=names, allow_no_data=True)
    if isinstance(strategies, str):
        strategies = [name.strip() for name in strategies.split(",")]
    request = BenchRequest(
        config.search, Path(out), strategies, seeds, target_network, optimum, workers
    )
    return run_bench(request, quiet=quiet)


def run_bench(request: BenchRequest, *, quiet: bool = False) -> BenchSummary:
    """Compare search strategies; see `bench`."""
    display = Display(quiet=quiet)
    section, out = request.section, request.out
    require_comparable(section)
    space = load_space(search_space_name(section), field="search.space")
    require_cost_limits(section, space)
    require_optimum(request.optimum, section.reward)
    require_bench_directory(out)
    noiseless_evaluator = _make_noiseless_evaluator(section, space)
    require_reports(
        section.pruner, section.evaluator, reports_progress=noiseless_evaluator.reports_progress
    )
    requested = request.strategies
    if requested is None:
        requested = default_strategies(noiseless_evaluator, pruner=section.pruner)
    strategies = installed_strategies(requested, section, noiseless_evaluator)
    stated = stated_optimum(request.optimum, section, noiseless_evaluator)
    runs = make_runs(
        strategies,
        seeds=request.seeds,
        section=section,
        settings=_result_settings(section, space, noiseless_evaluator),
        out=out,
    )
    target = measure_target(request.target_network, space, section, noiseless_evaluator)
    for strategy in sorted({*requested} - {*strategies}):
        display.print(f"{strategy}: is not installed and left out; {INSTALL_COMMAND}")
    with (
        RunDir(out).locked(),
        display.stage("bench", unit="runs", text_is_result=False) as on_progress,
    ):
        run_missing(runs, workers=request.workers, on_progress=on_progress)
    results = read_runs(runs)
    optimum, optimum_source = find_optimum(
        space, section, noiseless_evaluator, results, stated=stated
    )
    if stated is not None and optimum_source != "stated":
        display.print(
            f"the stated optimum {stated:g} is below the reward {optimum:g} of a run; the regret "
            "is relative to the latter"
        )
    target_reward = target.reward if target else None
    summary = BenchSummary(
        evaluator=section.evaluator,
        evaluator_description=noiseless_evaluator.describe_scores(),
        space=space.name,
        evaluations=section.trials,
        seeds=request.seeds,
        noise_std=section.noise_std,
        reward=section.reward,
        target_network=target.name if target else None,
        target_reward=target_reward,
        optimum=optimum,
        optimum_source=optimum_source,
        strategies={
            name: summarize_runs(strategy_runs, optimum=optimum, target_reward=target_reward)
            for name, strategy_runs in results.items()
        },
    )
    _write_files(out, summary, results)
    return summary


def _make_noiseless_evaluator(section: SearchSection, space: SearchSpace) -> Evaluator:
    noiseless = section.model_copy(update={"noise_std": 0.0})
    evaluator = make_evaluator(noiseless, None, limit_seconds=_CALL_SECONDS)
    evaluator.require_space(space)
    return evaluator


def _result_settings(
    section: SearchSection, space: SearchSpace, evaluator: Evaluator
) -> dict[str, Any]:
    """Everything but strategy and seed that decides the result of a run."""
    description = evaluator.describe_scores()
    return {
        "section": section.model_dump(exclude={"strategy", "evaluator"}),
        "base": space.base.to_dict(),
        "decisions": [
            [decision.name, list(map(dict, decision.settings)), list(decision.values)]
            for decision in space.decisions
        ],
        "scores": description.to_dict() if description else section.evaluator,
    }


def _write_files(
    out: Path, summary: BenchSummary, results: Mapping[str, Sequence[BenchRun]]
) -> None:
    from phinas.reports.figure_export import render_png, render_svg, report_style
    from phinas.reports.regret import draw_regret, make_regret_table

    summary.write(out / "bench.json")
    write_atomic(out / "bench.md", make_regret_table(summary) + "\n")
    with report_style():
        figure = draw_regret(summary, results)
    write_atomic(out / "regret.svg", render_svg(figure))
    write_atomic(out / "regret.png", render_png(figure))


def as_text(summary: BenchSummary, *, width: int | None = None) -> str:
    """The table of bench.md as plain text.

    Args:
        width: Characters of a line; None: unlimited.
    """
    from phinas.reports.regret import describe_comparison, make_regret_cells

    titles, rows = make_regret_cells(summary)
    columns = [Column(titles[0], "left"), *map(Column, titles[1:])]
    note = textwrap.wrap(describe_comparison(summary), width or 1000, break_on_hyphens=False)
    return "\n".join([*format_table(columns, rows, width=width), "", *note])
