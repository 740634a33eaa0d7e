"""Who says how accurate a network is. An evaluator turns (spec, recipe, seed) into a job whose value is a Measurement."""

from typing import Any, Protocol

from experiment.config import Recipe, SearchSection
from experiment.errors import InputError
from experiment.executors import Job
from nas.evaluators.accel_nasbench import SPACE, AccelNasbenchEvaluator
from nas.evaluators.function import FunctionEvaluator
from nas.evaluators.proxy import ProxyEvaluator
from space.search_space import SearchSpace
from space.spec import ArchSpec
from training.job import Trainer

EVALUATORS = {
    "proxy": ProxyEvaluator,
    "accel-nasbench": AccelNasbenchEvaluator,
    "function": FunctionEvaluator,
}
OWN_SPACES = {"accel-nasbench": SPACE}


class Evaluator(Protocol):
    """`job(...)` describes the work; an executor does it. instant: a job takes milliseconds, and the driver may do it.
    reports: whether its jobs tell accuracies on their way."""

    instant: bool
    reports: bool

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job: ...

    def facts(self) -> dict[str, Any]:
        """What a reader of its results must know of it: `accuracies` says in words what they are; empty for trainings."""

    def require_space(self, searched: SearchSpace) -> None:
        """Raises InputError where it can say nothing of the networks of that space."""


def make_evaluator(section: SearchSection, trainer: Trainer | None, *, limit_seconds: float) -> Evaluator:
    """The evaluator that `search.evaluator` names: proxy, accel-nasbench:PATH, or a user's package.module:function.

    trainer: only proxy needs one. limit_seconds: of one call of a user's function. Raises InputError where the name is none of
    these or can't be imported or read.
    """
    name = section.evaluator
    if name == "proxy":
        assert trainer is not None
        return ProxyEvaluator(trainer)
    kind, _, rest = name.partition(":")
    if kind == "accel-nasbench":
        return AccelNasbenchEvaluator(rest, noise=section.noise, limit_seconds=limit_seconds)
    if section.noise:
        raise InputError(f"search.noise: {section.noise:g} is for a benchmark's accuracies; {name!r} has its own")
    if rest:
        return FunctionEvaluator(name, limit_seconds)
    raise InputError(f"search.evaluator: {name!r} is none of proxy, accel-nasbench:PATH, package.module:function")
