"""Evaluators of the scaling search.

They are trainings (`proxy`), a user's function (`package.module:function`) or a synthetic accuracy
model (`synthetic`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Config, Recipe
from phinas.space.network import Network
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from phinas.run_context import RunContext

_KEY = "scaling.evaluator"


def require_evaluator(config: Config) -> None:
    """Check `scaling.evaluator`.

    Raises:
        InputError: It is not a legal value, or its function cannot be imported.
    """
    name = config.scaling.evaluator
    if ":" in name:
        _function_evaluator(name, limit_seconds=0.0)
    elif name not in ("proxy", "synthetic"):
        raise InputError(
            f"{_KEY}: {name!r} is not an evaluator; use proxy, synthetic or package.module:function"
        )


def make_job_factory(
    context: "RunContext", baseline: ArchSpec
) -> Callable[[Network, Recipe, int], Job]:
    """Return a function that makes a job from (network, recipe, seed).

    The value of the job is a Measurement.
    """
    name = context.config.scaling.evaluator
    if name == "proxy":
        return context.job_factory.make_job
    if name == "synthetic":
        from phinas.scaling_search.race.synthetic_accuracy import SyntheticAccuracyModel

        model, base = (
            SyntheticAccuracyModel(model_seed=context.config.run.seed),
            baseline.canonicalize(),
        )
        return lambda network, recipe, seed: model.make_job(network, base, recipe.epochs, seed)
    return _function_evaluator(name, limit_seconds=60 * context.config.run.trial_timeout_minutes)


def _function_evaluator(
    name: str, *, limit_seconds: float
) -> Callable[[Network, Recipe, int], Job]:
    from phinas.nas.evaluators.function import FunctionEvaluator

    evaluator = FunctionEvaluator(name, limit_seconds, key=_KEY)
    if evaluator.requires_choices:
        raise InputError(
            f"{_KEY}: {name!r} requires `choices`, and scaled networks have none; give the "
            "parameter a default, or name another function"
        )
    return evaluator.make_job
