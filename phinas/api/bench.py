"""`phinas bench strategies`: a comparison of search strategies on an evaluator that trains nothing.

Every run (a strategy with a seed) has its own file in the directory, so a bench that was stopped
can be resumed, and seeds or strategies can be added later.
"""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from phinas.adapt_to_data import search_space_name
from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import Executor, Job
from phinas.experiment.executors.processes import ProcessExecutor
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import RunDir, write_atomic, write_json
from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark.optimum import find_best_reward
from phinas.nas.benchmark.regret import summarize_runs
from phinas.nas.benchmark.runner import BENCHMARK_STRATEGIES
from phinas.nas.benchmark.third_party import THIRD_PARTY_STRATEGIES
from phinas.nas.cost_constraint import require_feasible
from phinas.nas.evaluators import make_evaluator
from phinas.nas.evaluators.accel_nasbench import AccelNasbenchEvaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.objective import make_search_reward
from phinas.nas.problem import Problem
from phinas.nas.search import make_cost_constraint
from phinas.nas.trial import analytic_cost
from phinas.space.loading import load_spec
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec
from phinas.terminal.progress import Display, ProgressCallback
from phinas.terminal.text_table import Column, format_table

_BENCH_KEYS = (
    "evaluator",
    "space",
    "trials",
    "noise_std",
    "reward",
    "cost",
    "reward_exponent",
    "target_cost",
    "min_flops",
    "max_flops",
    "recipe",
    "max_consecutive_failures",
)
_BENCH_FILES = {
    "runs",
    "bench.json",
    "bench.md",
    "regret.svg",
    "regret.png",
    ".lock",
    "holder.json",
}
_INSTALL_COMMAND = 'pip install "phinas[benchmarks]"'
Runs = dict[str, list[dict[str, Any]]]


def bench(
    section: SearchSection,
    *,
    out: Path,
    seeds: int,
    strategies: Sequence[str] = BENCHMARK_STRATEGIES,
    reference: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run each of `strategies` with seeds 0 to `seeds` - 1 for `section.trials` evaluations; the
    summary, as plain data.

    reference: a preset or spec file that is to be beaten; None: the base of the space. Writes
    bench.json, bench.md and regret.svg, .png to `out`. Raises the errors of
    phinas.experiment.errors.
    """
    display = Display(quiet=quiet)
    _require_comparable(section)
    requested_strategies, strategies = strategies, _installed_strategies(strategies)
    space = load_space(search_space_name(section))
    _require_cost_limits(section, space, strategies)
    _require_bench_directory(out)
    noiseless_evaluator = make_evaluator(
        section.model_copy(update={"noise_std": 0.0}), None, limit_seconds=3600.0
    )
    noiseless_evaluator.require_space(space)
    settings = {
        "section": section.model_dump(exclude={"strategy", "evaluator"}),
        "base": space.base.to_dict(),
        "decisions": [[decision.name, list(decision.values)] for decision in space.decisions],
        "accuracies": noiseless_evaluator.metadata() or section.evaluator,
    }
    jobs = [
        _job(strategy, section, settings, seed) for strategy in strategies for seed in range(seeds)
    ]
    name, reference_reward = _measure_reference(reference, space, section, noiseless_evaluator)
    for strategy in sorted({*requested_strategies} - {*strategies}):
        display.print(f"{strategy} is left out: {_INSTALL_COMMAND}")
    with RunDir(out).locked(), display.stage("bench") as on_progress:
        _run_jobs(jobs, out, workers or os.cpu_count() or 1, on_progress)
    runs: Runs = {strategy: [] for strategy in strategies}
    for job in jobs:
        runs[job.payload["strategy"]].append(
            json.loads(_result_path(out, job).read_text(encoding="utf-8"))
        )
    optimum, optimum_source = _find_optimum(space, section, noiseless_evaluator, runs)
    result = {
        "evaluator": section.evaluator,
        "space": space.name,
        "evaluations": section.trials,
        "seeds": seeds,
        "noise_std": section.noise_std,
        "reference": name,
        "reference_reward": reference_reward,
        "optimum": optimum,
        "optimum_source": optimum_source,
        **noiseless_evaluator.metadata(),
        "strategies": {
            name: summarize_runs(strategy_runs, optimum=optimum, reference=reference_reward)
            for name, strategy_runs in runs.items()
        },
    }
    _write_files(out, result, runs)
    return result


def as_text(result: dict[str, Any], *, width: int | None = None) -> str:
    """The table of bench.md as plain text in lines of `width` characters (None: unlimited)."""
    from phinas.reports.regret import make_regret_cells

    titles, rows = make_regret_cells(result)
    columns = [Column(titles[0], "left"), *map(Column, titles[1:])]
    return "\n".join(format_table(columns, rows, width=width))


def require_bench_keys(keys: Iterable[str]) -> None:
    """Raises InputError for a key of the configuration that changes nothing in a bench."""
    for key in keys:
        section, _, name = key.partition(".")
        if section != "search" or name.partition(".")[0] not in _BENCH_KEYS:
            raise InputError(
                f"--set {key}: changes nothing in a bench, which takes "
                f"search.{', '.join(_BENCH_KEYS)}; "
                "leave it out"
            )


def _require_comparable(section: SearchSection) -> None:
    """Raises InputError where the runs of a bench would not compare."""
    if section.reward == "pareto":
        raise InputError(
            "search.reward: pareto has two aims and a bench compares one number; set soft, hard "
            "or absolute"
        )
    if section.reward_exponent == "auto":
        raise InputError(
            "search.reward_exponent: auto gives each run a reward of its own, and those don't "
            "compare; set "
            "a number"
        )
    if section.cost == "latency":
        raise InputError(
            "search.cost: latency is timed network by network; a bench needs flops, params or "
            "activations"
        )


def _require_cost_limits(
    section: SearchSection, space: SearchSpace, strategies: Sequence[str]
) -> None:
    """Raises InputError where a strategy supports no cost limits, or no network is within them."""
    limit = next(
        (name for name in ("min_flops", "max_flops") if getattr(section, name) is not None), None
    )
    unconstrained = [name for name in strategies if name in THIRD_PARTY_STRATEGIES]
    if limit and unconstrained:
        raise InputError(
            f"search.{limit}: {', '.join(unconstrained)} can't keep to it; leave it out, or name "
            "others as "
            "--strategies"
        )
    require_feasible(space, make_cost_constraint(section), seed=0)


def _require_bench_directory(out: Path) -> None:
    """Raises InputError where it is no directory, or holds something else than a bench."""
    if out.is_file():
        raise InputError(f"{out}: is a file; --out needs a new or empty directory")
    foreign_files = (
        sorted({entry.name for entry in out.iterdir()} - _BENCH_FILES) if out.is_dir() else []
    )
    if foreign_files:
        raise InputError(
            f"{out}: holds {foreign_files[0]!r} and is no bench; --out needs a new or empty "
            "directory"
        )


def _installed_strategies(strategies: Sequence[str]) -> list[str]:
    """The strategies that are installed, each once. Raises InputError for an unknown name, and
    where none is installed.
    """
    import importlib.util

    strategies = list(dict.fromkeys(strategies))
    for name in strategies:
        if name not in BENCHMARK_STRATEGIES:
            raise InputError(f"--strategies: {name!r} is none of {', '.join(BENCHMARK_STRATEGIES)}")
    if "syne-tune-rea" in strategies and importlib.util.find_spec("syne_tune") is None:
        strategies.remove("syne-tune-rea")
        if not strategies:
            raise InputError(f"--strategies: syne-tune-rea is not installed: {_INSTALL_COMMAND}")
    return strategies


def _job(strategy: str, section: SearchSection, settings: dict[str, Any], seed: int) -> Job:
    payload = {
        "strategy": strategy,
        "space": search_space_name(section),
        "section": section.model_dump(),
        "seed": seed,
    }
    key = job_key("bench", {"strategy": strategy, "seed": seed, "settings": settings})
    return Job(key, "phinas.nas.benchmark.runner:run_strategy", payload)


def _result_path(out: Path, job: Job) -> Path:
    return out / "runs" / f"{job.payload['strategy']}-{job.payload['seed']}-{job.key[:8]}.json"


def _run_jobs(jobs: list[Job], out: Path, workers: int, on_progress: ProgressCallback) -> None:
    """Run the jobs that have no file yet, `workers` at a time."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a worker: the matrices are small
    pending = [job for job in jobs if not _result_path(out, job).exists()]
    by_key = {job.key: job for job in pending}
    done = len(jobs) - len(pending)
    on_progress(done, len(jobs), "")
    executor: Executor = ProcessExecutor(min(workers, max(1, len(pending))))
    try:
        num_running = 0
        while pending or num_running:
            while pending and num_running < executor.max_workers:
                executor.submit(pending.pop(0))
                num_running += 1
            result = executor.next_result()
            num_running -= 1
            job = by_key[result.key]
            if result.value is None:
                raise NoResultError(
                    f"{job.payload['strategy']} with seed {job.payload['seed']} failed: "
                    f"{result.reason}; "
                    "see to it, then the same command carries on"
                )
            write_json(_result_path(out, job), result.value)
            done += 1
            on_progress(done, len(jobs), f"{job.payload['strategy']}, seed {job.payload['seed']}")
    finally:
        executor.close()


def _measure_reference(
    name: str | None, space: SearchSpace, section: SearchSection, evaluator: Evaluator
) -> tuple[str, float]:
    """What is to be beaten, and its reward. Raises InputError where the evaluator gives none."""
    spec: ArchSpec = load_spec(name) if name else space.base
    with closing(ProcessExecutor(1)) as executor:  # a user's function may print, or die
        executor.submit(evaluator.make_job(spec, section.recipe, 0))
        result = executor.next_result()
    try:
        accuracy = Measurement.from_dict(result.value).accuracy if result.value else None
    except (TypeError, ValueError) as error:
        accuracy, result = None, replace(result, reason=str(error))
    if accuracy is None:
        description = name or "the base of the space, which stands for it,"
        raise InputError(
            f"--reference: {description} can't be measured: {result.reason}; name a network that "
            "can be"
        )
    reward = make_search_reward(section, space)
    return name or f"the base of {space.name}", reward(accuracy, analytic_cost(spec, reward.metric))


def _find_optimum(
    space: SearchSpace, section: SearchSection, evaluator: Any, runs: Runs
) -> tuple[float, str]:
    """The best reward there is, and where that comes from."""
    best_reward = max(
        reward
        for strategy_runs in runs.values()
        for run in strategy_runs
        for reward in run["true_rewards"]
    )
    if not isinstance(evaluator, AccelNasbenchEvaluator):
        return best_reward, "the best that any of these runs met"
    problem = Problem(space, make_cost_constraint(section), make_search_reward(section, space))
    return max(
        best_reward, find_best_reward(problem, evaluator.batch_accuracy_fn(space))
    ), "a beam search over the whole surrogate"


def _write_files(out: Path, result: dict[str, Any], runs: Runs) -> None:
    from phinas.reports.figure_export import render_png, render_svg, report_style
    from phinas.reports.regret import draw_regret, make_regret_table

    write_json(out / "bench.json", result)
    write_atomic(out / "bench.md", make_regret_table(result) + "\n")
    with report_style():
        figure = draw_regret(result, runs)
    write_atomic(out / "regret.svg", render_svg(figure))
    write_atomic(out / "regret.png", render_png(figure))
