"""Checks of `phinas bench` before anything runs."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import SearchSection
from phinas.nas.benchmark.runner import require_benchmark_strategy
from phinas.nas.cost_constraint import require_feasible
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.search import make_cost_constraint
from phinas.space.library_lookup import is_installed
from phinas.space.search_spaces.search_space import SearchSpace

INSTALL_COMMAND = 'pip install "phinas[benchmarks]"'
_SEARCH_KEYS = (
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
    "pruner",
    "max_consecutive_failures",
)
_FILES = {
    "runs",
    "bench.json",
    "bench.md",
    "regret.svg",
    "regret.png",
    ".lock",
    "holder.json",
}


def require_bench_keys(keys: Iterable[str]) -> None:
    """Raises InputError for a key of the configuration that has no effect in a benchmark."""
    for key in keys:
        section, _, name = key.partition(".")
        if section != "search" or name.partition(".")[0] not in _SEARCH_KEYS:
            raise InputError(
                f"--set {key}: has no effect in a benchmark; leave it out, or use one of "
                f"search.{', '.join(_SEARCH_KEYS)}"
            )


def require_lookup(evaluator: str) -> None:
    """Raises InputError for an evaluator that trains networks."""
    if evaluator == "proxy":
        raise InputError(
            "--evaluator: 'proxy' trains networks; use accel-nasbench:PATH, curves:FILE or "
            "package.module:function"
        )


def require_comparable(section: SearchSection) -> None:
    """Raises InputError where the runs could not be compared by one reward."""
    if section.reward == "pareto":
        raise InputError(
            "search.reward: pareto has two objectives and a benchmark compares one number; set "
            "soft, hard, absolute or accuracy"
        )
    if section.reward_exponent == "auto":
        raise InputError(
            "search.reward_exponent: auto gives each run another reward, so that runs cannot be "
            "compared; set a number"
        )
    if section.cost == "latency":
        raise InputError(
            "search.cost: latency is measured network by network; a benchmark needs flops, params "
            "or activations"
        )


def require_cost_limits(section: SearchSection, space: SearchSpace) -> None:
    """Raises InputError where no network is within the cost limits."""
    require_feasible(space, make_cost_constraint(section), seed=0)


def require_optimum(optimum: object, reward: str) -> None:
    """Raises InputError where a stated optimum is no possible reward."""
    if optimum is None:
        return
    if (
        not isinstance(optimum, int | float)
        or isinstance(optimum, bool)
        or not math.isfinite(optimum)
    ):
        raise InputError(f"--optimum: {optimum!r} is not a finite number; state the highest reward")
    if reward == "accuracy" and not 0 <= optimum <= 1:
        raise InputError(
            f"--optimum: {optimum:g} is no score; write a number from 0 to 1, such as 0.9437"
        )


def require_bench_directory(out: Path) -> None:
    """Raises InputError where `out` is a file, or has other files than those of a benchmark."""
    if out.is_file():
        raise InputError(f"{out}: is a file; --out needs a new or empty directory")
    foreign_files = sorted({entry.name for entry in out.iterdir()} - _FILES) if out.is_dir() else []
    if foreign_files:
        raise InputError(
            f"{out}: contains {foreign_files[0]!r} and is not a benchmark; --out needs a new or "
            "empty directory"
        )


def installed_strategies(
    strategies: Sequence[str], section: SearchSection, evaluator: Evaluator
) -> list[str]:
    """The strategies that are installed, each once.

    Args:
        strategies: The names.
        section: The configuration of the search.
        evaluator: The evaluator.

    Raises:
        InputError: A name is unknown, the evaluator does not suit a strategy, or no strategy is
            installed.
    """
    names = list(dict.fromkeys(strategies))
    for name in names:
        require_benchmark_strategy(name, evaluator, pruner=section.pruner, key="--strategies")
    if "syne-tune-rea" in names and not is_installed("syne_tune"):
        names.remove("syne-tune-rea")
        if not names:
            raise InputError(f"--strategies: syne-tune-rea is not installed; {INSTALL_COMMAND}")
    return names
