"""The evaluators by name. An evaluator turns (network, recipe, seed) into a job whose result is a
Measurement.

This table imports no library, so that help stays quick. `make_evaluator` imports the class of an
entry.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phinas.experiment.schema.config import SearchSection
    from phinas.nas.evaluators.interface import Evaluator, NamedEvaluator
    from phinas.training.engine.job import TrainingJobFactory


@dataclass(frozen=True, slots=True)
class EvaluatorEntry:
    """An evaluator that phinas ships.

    Attributes:
        usage: Its value in `search.evaluator`.
        summary: One sentence for help texts and documentation.
        path: The class, as "module:Class". Its class method `from_name(name, job_factory=,
            limit_seconds=)` makes the evaluator.
        default_space: The search space whose networks it can score. None if it can score any.
        scores_published_networks: Whether it can score a published network, such as EfficientNet-B0
            or the base network of the space, by default. A user's function may not.
    """

    usage: str
    summary: str
    path: str
    default_space: str | None = None
    scores_published_networks: bool = True


EVALUATORS: dict[str, EvaluatorEntry] = {
    "proxy": EvaluatorEntry(
        "proxy",
        "Train each network for a few epochs on the images of the run.",
        "phinas.nas.evaluators.proxy:ProxyEvaluator",
    ),
    "accel-nasbench": EvaluatorEntry(
        "accel-nasbench:PATH",
        "Predict the ImageNet accuracy from the records of Accel-NASBench, without training.",
        "phinas.nas.evaluators.accel_nasbench:AccelNasbenchEvaluator",
        default_space="accel_nasbench",
    ),
    "curves": EvaluatorEntry(
        "curves:FILE",
        "Look scores up in a file of learning curves, whose networks are the only candidates.",
        "phinas.nas.evaluators.curves:CurvesEvaluator",
        scores_published_networks=False,
    ),
    "function": EvaluatorEntry(
        "package.module:function",
        "Call your own function.",
        "phinas.nas.evaluators.function:FunctionEvaluator",
        scores_published_networks=False,
    ),
}


def find_evaluator(name: str) -> EvaluatorEntry:
    """The entry that `search.evaluator` names.

    Raises:
        InputError: No entry has this name.
    """
    from phinas.experiment.errors import InputError

    kind, _, argument = name.partition(":")
    entry = EVALUATORS.get(kind)
    if entry is not None and (entry.usage == name or entry.usage.startswith(f"{kind}:")):
        return entry
    if argument:
        return EVALUATORS["function"]
    usages = ", ".join(entry.usage for entry in EVALUATORS.values())
    raise InputError(f"search.evaluator: {name!r} is none of {usages}")


def default_space(name: str) -> str | None:
    """The search space whose networks this evaluator can score. None if it can score any."""
    entry = EVALUATORS.get(name.partition(":")[0])
    return entry.default_space if entry is not None else None


def make_evaluator(
    section: "SearchSection", job_factory: "TrainingJobFactory | None", *, limit_seconds: float
) -> "Evaluator":
    """Make the evaluator that `search.evaluator` names.

    Args:
        section: The configuration of the search.
        job_factory: Describes trainings. Only `proxy` needs one.
        limit_seconds: Time limit of one call of a user's function.

    Raises:
        InputError: The name is unknown, or what it names cannot be imported or read.
    """
    from importlib import import_module

    from phinas.nas.evaluators.noise import NoisyEvaluator

    name = section.evaluator
    module, _, class_name = find_evaluator(name).path.partition(":")
    evaluator_class: type[NamedEvaluator] = getattr(import_module(module), class_name)
    evaluator: Evaluator = evaluator_class.from_name(
        name, job_factory=job_factory, limit_seconds=limit_seconds
    )
    return NoisyEvaluator(evaluator, section.noise_std) if section.noise_std else evaluator
