"""`phinas bench strategies`: searchers held against each other on an evaluator that costs next to
nothing.

Every run (a searcher with a seed) is a file of its own in the directory, so a bench that was
stopped carries on, and one can be widened by seeds or searchers later.
"""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from phinas.adapt_to_data import space_name
from phinas.experiment.errors import InputError, NothingFound
from phinas.experiment.executors import Executor, Job
from phinas.experiment.executors.processes import ProcessExecutor
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import RunDir, write_atomic, write_json
from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark.optimum import best_reward
from phinas.nas.benchmark.regret import summary
from phinas.nas.benchmark.runner import SEARCHERS
from phinas.nas.benchmark.third_party import PEERS
from phinas.nas.cost_constraint import require_reachable
from phinas.nas.evaluators import make_evaluator
from phinas.nas.evaluators.accel_nasbench import AccelNasbenchEvaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.objective import reward_of
from phinas.nas.problem import Problem
from phinas.nas.search import gate_of
from phinas.nas.trial import price_of
from phinas.progress import Display, Notify
from phinas.space.loading import load_spec
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec

_USED = ("evaluator", "space", "trials", "noise", "reward", "cost", "weight", "target", "min_flops", "max_flops", "recipe",
         "stop_after_failures")  # fmt: skip
_OURS = {"runs", "bench.json", "bench.md", "regret.svg", "regret.png", ".lock", "holder.json"}
_REMEDY = 'pip install "phinas[benchmarks]"'
Runs = dict[str, list[dict[str, Any]]]


def bench_strategies(
    section: SearchSection,
    *,
    out: Path,
    seeds: int,
    searchers: Sequence[str] = SEARCHERS,
    reference: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run each of `searchers` with seeds 0 to `seeds` - 1 for `section.trials` evaluations; the
    summary, as plain data.

    reference: a preset or spec file that is to be beaten; None: the base of the space. Writes
    bench.json, bench.md and regret.svg, .png to `out`. Raises the errors of
    phinas.experiment.errors.
    """
    display = Display(quiet=quiet)
    _require_comparable(section)
    asked, searchers = searchers, _able(searchers)
    space = load_space(space_name(section))
    _require_gate(section, space, searchers)
    _require_free(out)
    exact = make_evaluator(section.model_copy(update={"noise": 0.0}), None, limit_seconds=3600.0)
    exact.require_space(space)
    settings = {
        "section": section.model_dump(exclude={"strategy", "evaluator"}),
        "base": space.base.to_dict(),
        "decisions": [[decision.name, list(decision.values)] for decision in space.decisions],
        "accuracies": exact.facts() or section.evaluator,
    }
    jobs = [
        _job(searcher, section, settings, seed) for searcher in searchers for seed in range(seeds)
    ]
    name, level = _reference(reference, space, section, exact)
    for missing in sorted({*asked} - {*searchers}):
        display.say(f"{missing} is left out: {_REMEDY}")
    with RunDir(out).locked(), display.stage("bench") as notify:
        _carry_out(jobs, out, workers or os.cpu_count() or 1, notify)
    runs: Runs = {searcher: [] for searcher in searchers}
    for job in jobs:
        runs[job.payload["searcher"]].append(
            json.loads(_file(out, job).read_text(encoding="utf-8"))
        )
    optimum, how = _optimum(space, section, exact, runs)
    facts = {
        "evaluator": section.evaluator,
        "space": space.name,
        "evaluations": section.trials,
        "seeds": seeds,
        "noise": section.noise,
        "reference": name,
        "reference_reward": level,
        "optimum": optimum,
        "optimum_is": how,
        **exact.facts(),
        "searchers": {
            name: summary(found, optimum=optimum, reference=level) for name, found in runs.items()
        },
    }
    _write(out, facts, runs)
    return facts


def require_used(keys: Iterable[str]) -> None:
    """Raises InputError for a key of the configuration that changes nothing in a bench."""
    for key in keys:
        section, _, name = key.partition(".")
        if section != "search" or name.partition(".")[0] not in _USED:
            raise InputError(
                f"--set {key}: changes nothing in a bench, which takes search.{', '.join(_USED)}; "
                "leave it out"
            )


def _require_comparable(section: SearchSection) -> None:
    """Raises InputError where the runs of a bench would not compare."""
    if section.reward == "pareto":
        raise InputError(
            "search.reward: pareto has two aims and a bench compares one number; set soft, hard "
            "or absolute"
        )
    if section.weight == "auto":
        raise InputError(
            "search.weight: auto gives each run a reward of its own, and those don't compare; set "
            "a number"
        )
    if section.cost == "latency":
        raise InputError(
            "search.cost: latency is timed network by network; a bench needs flops, params or "
            "activations"
        )


def _require_gate(section: SearchSection, space: SearchSpace, searchers: Sequence[str]) -> None:
    """Raises InputError where a searcher knows no gate, or no network meets it."""
    gate = next(
        (name for name in ("min_flops", "max_flops") if getattr(section, name) is not None), None
    )
    blind = [name for name in searchers if name in PEERS]
    if gate and blind:
        raise InputError(
            f"search.{gate}: {', '.join(blind)} can't keep to it; leave it out, or name others as "
            "--strategies"
        )
    require_reachable(space, gate_of(section), seed=0)


def _require_free(out: Path) -> None:
    """Raises InputError where it is no directory, or holds something else than a bench."""
    if out.is_file():
        raise InputError(f"{out}: is a file; --out needs a new or empty directory")
    strangers = sorted({entry.name for entry in out.iterdir()} - _OURS) if out.is_dir() else []
    if strangers:
        raise InputError(
            f"{out}: holds {strangers[0]!r} and is no bench; --out needs a new or empty directory"
        )


def _able(searchers: Sequence[str]) -> list[str]:
    """The searchers that are installed, each once. Raises InputError for a name that is none, and
    where none is installed.
    """
    import importlib.util

    searchers = list(dict.fromkeys(searchers))
    for name in searchers:
        if name not in SEARCHERS:
            raise InputError(f"--strategies: {name!r} is none of {', '.join(SEARCHERS)}")
    if "syne-tune-rea" in searchers and importlib.util.find_spec("syne_tune") is None:
        searchers.remove("syne-tune-rea")
        if not searchers:
            raise InputError(f"--strategies: syne-tune-rea is not installed: {_REMEDY}")
    return searchers


def _job(searcher: str, section: SearchSection, settings: dict[str, Any], seed: int) -> Job:
    payload = {
        "searcher": searcher,
        "space": space_name(section),
        "section": section.model_dump(),
        "seed": seed,
    }
    key = job_key("bench", {"searcher": searcher, "seed": seed, "settings": settings})
    return Job(key, "phinas.nas.benchmark.runner:run", payload)


def _file(out: Path, job: Job) -> Path:
    return out / "runs" / f"{job.payload['searcher']}-{job.payload['seed']}-{job.key[:8]}.json"


def _carry_out(jobs: list[Job], out: Path, workers: int, notify: Notify) -> None:
    """Those that have no file yet, `workers` at a time."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a worker: the matrices are small
    waiting = [job for job in jobs if not _file(out, job).exists()]
    by_key = {job.key: job for job in waiting}
    done = len(jobs) - len(waiting)
    notify(done, len(jobs), "")
    executor: Executor = ProcessExecutor(min(workers, max(1, len(waiting))))
    try:
        under_way = 0
        while waiting or under_way:
            while waiting and under_way < executor.slots:
                executor.submit(waiting.pop(0))
                under_way += 1
            result = executor.next_result()
            under_way -= 1
            job = by_key[result.key]
            if result.value is None:
                raise NothingFound(
                    f"{job.payload['searcher']} with seed {job.payload['seed']} failed: "
                    f"{result.reason}; "
                    "see to it, then the same command carries on"
                )
            write_json(_file(out, job), result.value)
            done += 1
            notify(done, len(jobs), f"{job.payload['searcher']}, seed {job.payload['seed']}")
    finally:
        executor.close()


def _reference(
    name: str | None, space: SearchSpace, section: SearchSection, evaluator: Evaluator
) -> tuple[str, float]:
    """What is to be beaten, and its reward. Raises InputError where the evaluator gives none."""
    spec: ArchSpec = load_spec(name) if name else space.base
    with closing(ProcessExecutor(1)) as executor:  # a user's function may print, or die
        executor.submit(evaluator.job(spec, section.recipe, 0))
        result = executor.next_result()
    try:
        accuracy = Measurement.from_dict(result.value).accuracy if result.value else None
    except (TypeError, ValueError) as error:
        accuracy, result = None, replace(result, reason=str(error))
    if accuracy is None:
        which = name or "the base of the space, which stands for it,"
        raise InputError(
            f"--reference: {which} can't be measured: {result.reason}; name a network that can be"
        )
    reward = reward_of(section, space)
    return name or f"the base of {space.name}", reward(accuracy, price_of(spec, reward.metric))


def _optimum(
    space: SearchSpace, section: SearchSection, evaluator: Any, runs: Runs
) -> tuple[float, str]:
    """The best reward there is, and where that comes from."""
    met = max(reward for found in runs.values() for run in found for reward in run["true"])
    if not isinstance(evaluator, AccelNasbenchEvaluator):
        return met, "the best that any of these runs met"
    problem = Problem(space, gate_of(section), reward_of(section, space))
    return max(
        met, best_reward(problem, evaluator.accuracies_in(space))
    ), "a beam search over the whole surrogate"


def _write(out: Path, facts: dict[str, Any], runs: Runs) -> None:
    from phinas.reports.figure_export import as_png, as_svg, styled
    from phinas.reports.regret import draw, table

    write_json(out / "bench.json", facts)
    write_atomic(out / "bench.md", table(facts) + "\n")
    with styled():
        plate = draw(facts, runs)
    write_atomic(out / "regret.svg", as_svg(plate))
    write_atomic(out / "regret.png", as_png(plate))
