"""Who says how accurate a network is. An evaluator turns (spec, recipe, seed) into a job whose value is a Measurement."""

from typing import Protocol

from experiment.config import Recipe
from experiment.errors import InputError
from experiment.executors import Job
from nas.evaluators.function import FunctionEvaluator
from nas.evaluators.proxy import ProxyEvaluator
from space.spec import ArchSpec
from training.job import Trainer

EVALUATORS = {
    "proxy": ProxyEvaluator,
    "function": FunctionEvaluator,
}


class Evaluator(Protocol):
    """`job(...)` describes the work; an executor does it. reports: whether its jobs tell accuracies on their way."""

    reports: bool

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job: ...


def make_evaluator(name: str, trainer: Trainer) -> Evaluator:
    """The evaluator that `search.evaluator` names: "proxy", or a user's "package.module:function".

    Raises InputError where it is neither or can't be imported.
    """
    if name == "proxy":
        return ProxyEvaluator(trainer)
    if ":" in name:
        return FunctionEvaluator(name, trainer.limit_seconds)
    raise InputError(f"search.evaluator: {name!r} is neither `proxy` nor of the form package.module:function")
