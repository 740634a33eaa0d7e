"""Who measures the networks of the scaling search: trainings, a user's own function, or the stated
law.
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


def require_measurer(config: Config) -> None:
    """Raises InputError where `scaling.evaluator` is none, or can't be imported."""
    name = config.scaling.evaluator
    if ":" in name:
        _own(name, limit_seconds=0.0)
    elif name not in ("proxy", "law"):
        raise InputError(f"{_KEY}: {name!r} is none of proxy, law, package.module:function")


def measurer(session: "Session", baseline: ArchSpec) -> Callable[[ArchSpec, Recipe, int], Job]:
    """Turns (spec, recipe, seed) into a job whose value is a Measurement."""
    name = session.config.scaling.evaluator
    if name == "proxy":
        return session.trainer.job
    if name == "law":
        from phinas.scaling_search.race.synthetic_accuracy import Law

        law, base = Law(world=session.config.run.seed), baseline.simplified()
        return lambda spec, recipe, seed: law.job(spec, base, recipe.epochs, seed)
    return _own(name, limit_seconds=60 * session.config.run.trial_minutes)


def _own(name: str, *, limit_seconds: float) -> Callable[[ArchSpec, Recipe, int], Job]:
    from phinas.nas.evaluators.function import FunctionEvaluator

    return FunctionEvaluator(name, limit_seconds, key=_KEY).job
