"""The runs of `phinas bench`: one job and one file for each strategy and seed.

A file is named after the hash of all that decides the run. So an interrupted benchmark resumes, and
seeds or strategies can be added later.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phinas.adapt_to_data import search_space_name
from phinas.experiment.artifacts.bench import BenchRun
from phinas.experiment.cpu_threads import count_available_cpus
from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor, Job
from phinas.experiment.executors.interface import import_function
from phinas.experiment.executors.processes import ProcessExecutor
from phinas.experiment.job_list import job_key
from phinas.experiment.manifest import file_sha256
from phinas.experiment.schema.config import SearchSection
from phinas.terminal.progress import ProgressCallback

RUN_FUNCTION = "phinas.nas.benchmark.runner:run_strategy"


@dataclass(frozen=True)
class StrategyRun:
    """One run: a strategy with a seed.

    Attributes:
        strategy: The name of the strategy.
        seed: Its random seed.
        job: The search as a job.
        path: The file of the result.
    """

    strategy: str
    seed: int
    job: Job
    path: Path


def make_runs(
    strategies: Sequence[str],
    *,
    seeds: int,
    section: SearchSection,
    settings: Mapping[str, Any],
    out: Path,
) -> list[StrategyRun]:
    """The runs of a benchmark.

    Args:
        strategies: The names of the strategies.
        seeds: The number of runs of each.
        section: The configuration of the search.
        settings: Everything but strategy and seed that decides a result.
        out: The directory of the benchmark.
    """
    runs = []
    for strategy in strategies:
        identity = {"strategy": strategy, "settings": settings} | _source_hash(strategy)
        for seed in range(seeds):
            payload = {
                "strategy": strategy,
                "space": search_space_name(section),
                "section": section.model_dump(),
                "seed": seed,
            }
            key = job_key("bench", identity | {"seed": seed})
            name = f"{strategy.replace(':', '.')}-{seed}-{key[:8]}.json"
            job = Job(key, RUN_FUNCTION, payload)
            runs.append(StrategyRun(strategy, seed, job, out / "runs" / name))
    return runs


def _source_hash(strategy: str) -> dict[str, str]:
    """The hash of the module of a user's strategy, so that an edited one runs again."""
    if ":" not in strategy:
        return {}
    try:
        return {"source": file_sha256(Path(inspect.getfile(import_function(strategy))))}
    except (TypeError, OSError):  # it has no file
        return {}


def run_missing(
    runs: Sequence[StrategyRun], *, workers: int | None, on_progress: ProgressCallback
) -> None:
    """Run what has no file yet.

    Args:
        runs: All runs of the benchmark.
        workers: Runs at a time. None: one for each CPU core.
        on_progress: Called with the number of runs done, of all, and a text.

    Raises:
        NoResultError: A run failed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the matrices are small
    pending = {run.job.key: run for run in runs if not run.path.exists()}
    done = len(runs) - len(pending)
    on_progress(done, len(runs), "")
    max_workers = min(workers or count_available_cpus(), max(1, len(pending)))
    executor: Executor = ProcessExecutor(max_workers)
    waiting = list(pending.values())
    try:
        while pending:
            running = len(pending) - len(waiting)
            if waiting and running < max_workers:
                executor.submit(waiting.pop(0).job)
                continue
            result = executor.next_result()
            run = pending.pop(result.key)
            name = f"{run.strategy}, seed {run.seed}"
            if result.value is None:
                raise NoResultError(
                    f"{name}: failed: {result.reason}; correct the cause, then call again to resume"
                )
            BenchRun.from_dict(result.value, source=name).write(run.path)
            done += 1
            on_progress(done, len(runs), name)
    finally:
        executor.close()


def read_runs(runs: Sequence[StrategyRun]) -> dict[str, list[BenchRun]]:
    """The results by strategy, in the order of the seeds."""
    results: dict[str, list[BenchRun]] = {}
    for run in runs:
        results.setdefault(run.strategy, []).append(BenchRun.read(run.path))
    return results
