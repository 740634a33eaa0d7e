"""Evaluators of the scaling search.

They are trainings (`proxy`), a user's function (`package.module:function`) or a synthetic accuracy
model (`synthetic`).
"""

from typing import TYPE_CHECKING

from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Config, Recipe
from phinas.space.network import Network, ScalableNetwork

if TYPE_CHECKING:
    from phinas.nas.evaluators.function import FunctionEvaluator
    from phinas.run_context import RunContext
    from phinas.scaling_search.race.training_queue import Evaluator, MakeJob

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


def can_pause_trainings(config: Config) -> bool:
    """Whether trainings of the scaling search can be paused and resumed."""
    name = config.scaling.evaluator
    if config.run.max_paused_gigabytes == 0 or name == "synthetic":
        return False
    return name == "proxy" or _function_evaluator(name, limit_seconds=0.0).supports_pausing


def make_evaluator(context: "RunContext", baseline: ScalableNetwork) -> "Evaluator":
    """Make the evaluator of `scaling.evaluator`."""
    from phinas.scaling_search.race.training_queue import Evaluator

    name = context.config.scaling.evaluator
    if name == "proxy":
        make_job: MakeJob = context.job_factory.make_job
    elif name == "synthetic":
        make_job = _synthetic_job_factory(context.config.run.seed, baseline)
    else:
        limit_seconds = 60 * context.config.run.trial_timeout_minutes
        make_job = _function_evaluator(name, limit_seconds=limit_seconds).make_job
    return Evaluator(make_job, can_pause_trainings(context.config))


def _synthetic_job_factory(model_seed: int, baseline: ScalableNetwork) -> "MakeJob":
    from phinas.scaling_search.race.synthetic_accuracy import SyntheticAccuracyModel

    model, base = SyntheticAccuracyModel(model_seed=model_seed), baseline.canonicalize()

    def make_job(
        network: Network, recipe: Recipe, seed: int, *, stop_epoch: int | None = None
    ) -> Job:
        assert stop_epoch is None  # nothing is trained that could be paused
        return model.make_job(network, base, recipe.epochs, seed)

    return make_job


def _function_evaluator(name: str, *, limit_seconds: float) -> "FunctionEvaluator":
    from phinas.nas.evaluators.function import FunctionEvaluator

    evaluator = FunctionEvaluator(name, limit_seconds, key=_KEY)
    if evaluator.requires_choices:
        raise InputError(
            f"{_KEY}: {name!r} requires `choices`, and scaled networks have none; give the "
            "parameter a default, or name another function"
        )
    return evaluator
