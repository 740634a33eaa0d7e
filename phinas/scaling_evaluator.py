"""Evaluators of the scaling search: trainings, a user's own function, or a synthetic accuracy
model.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Config, Recipe
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from phinas.session import Session

_KEY = "scaling.evaluator"


def require_evaluator(config: Config) -> None:
    """Raises InputError where `scaling.evaluator` is none, or can't be imported."""
    name = config.scaling.evaluator
    if ":" in name:
        _function_evaluator(name, limit_seconds=0.0)
    elif name not in ("proxy", "synthetic"):
        raise InputError(f"{_KEY}: {name!r} is none of proxy, synthetic, package.module:function")


def make_job_factory(
    session: "Session", baseline: ArchSpec
) -> Callable[[ArchSpec, Recipe, int], Job]:
    """Turns (spec, recipe, seed) into a job whose value is a Measurement."""
    name = session.config.scaling.evaluator
    if name == "proxy":
        return session.job_factory.make_job
    if name == "synthetic":
        from phinas.scaling_search.race.synthetic_accuracy import SyntheticAccuracyModel

        model, base = (
            SyntheticAccuracyModel(model_seed=session.config.run.seed),
            baseline.canonicalize(),
        )
        return lambda spec, recipe, seed: model.make_job(spec, base, recipe.epochs, seed)
    return _function_evaluator(name, limit_seconds=60 * session.config.run.trial_timeout_minutes)


def _function_evaluator(
    name: str, *, limit_seconds: float
) -> Callable[[ArchSpec, Recipe, int], Job]:
    from phinas.nas.evaluators.function import FunctionEvaluator

    return FunctionEvaluator(name, limit_seconds, key=_KEY).make_job
