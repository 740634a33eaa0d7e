"""Who says how accurate a network is. An evaluator turns (spec, recipe, seed) into a job whose
value is a Measurement.
"""

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import SearchSection
from phinas.nas.evaluators.accel_nasbench import SPACE_NAME, AccelNasbenchEvaluator
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.evaluators.noise import NoisyEvaluator
from phinas.nas.evaluators.proxy import ProxyEvaluator
from phinas.training.engine.job import TrainingJobFactory

EVALUATORS = {
    "proxy": ProxyEvaluator,
    "accel-nasbench": AccelNasbenchEvaluator,
    "function": FunctionEvaluator,
}
EVALUATOR_SPACES = {"accel-nasbench": SPACE_NAME}


def make_evaluator(
    section: SearchSection, job_factory: TrainingJobFactory | None, *, limit_seconds: float
) -> Evaluator:
    """The evaluator that `search.evaluator` names: proxy, accel-nasbench:PATH, or a user's
    package.module:function.

    trainer: only proxy needs one. limit_seconds: of one call of a user's function. Raises
    InputError where the name is none of these or can't be imported or read.
    """
    name = section.evaluator
    if name == "proxy":
        if job_factory is None:
            raise InputError(
                "search.evaluator: proxy trains networks and there are no images; name them with "
                "--data"
            )
        return ProxyEvaluator(job_factory)
    evaluator = _make_named_evaluator(name, limit_seconds)
    return NoisyEvaluator(evaluator, section.noise_std) if section.noise_std else evaluator


def _make_named_evaluator(name: str, limit_seconds: float) -> Evaluator:
    kind, _, argument = name.partition(":")
    if kind == "accel-nasbench":
        if not argument:
            raise InputError(
                f"search.evaluator: {name!r} names no archive; write accel-nasbench:PATH"
            )
        return AccelNasbenchEvaluator(argument, limit_seconds=limit_seconds)
    if argument:
        return FunctionEvaluator(name, limit_seconds)
    raise InputError(
        f"search.evaluator: {name!r} is none of proxy, accel-nasbench:PATH, package.module:function"
    )
