"""A user-supplied function as the evaluator.

`function(spec, budget, seed)` returns a score from 0 to 1 or a Measurement. `spec` is the network
and `budget` the epochs of the recipe. It runs in a worker process, so it may crash or hang without
harm to the search.

A function with a parameter `report` can be pruned (`search.pruner`):

    def evaluate(spec, budget, seed, report):
        for epoch in range(1, budget + 1):
            score = ...
            if not report(epoch, score):
                break
        return score

A function with the parameters `report` and `resume_token` can be paused, which strategies that
resume trainings need (such as `search.strategy: asha`). `report` then also returns False at the
epoch at which the training pauses. The function saves its training and returns a score and a resume
token: any JSON value from which it finds the training again, such as a path. The call that resumes
the training gets the token, and any other call gets None. If the training of a token is gone, the
function trains from the first epoch again: the score after an epoch must be the same.

    def evaluate(spec, budget, seed, report, resume_token):
        training = Training(spec, budget, seed) if resume_token is None else load(resume_token)
        while training.epoch < budget:
            training.train_epoch()
            if not report(training.epoch, training.score):
                return training.score, training.save()
        return training.score

A function with a parameter `stop_epoch` gets the epoch at which the training pauses, or None. This
parameter alone suffices to pause a function without a state, such as a table of learning curves.

A function with a parameter `choices` scores the choices of a network, as the tables of NAS
benchmarks do. They are a dict, such as {"stages.1.layers.0.op": "mb6_k5"}. A choice without
effect has the first value of its decision. Several sets of choices that decode to one network are
then several candidates. Networks that are not in the search space are not scored:

    def evaluate(spec, budget, seed, choices):
        return TABLE[tuple(choices.values())]

The attribute `optimum` of a function states its highest score (`evaluate.optimum = 0.9437`), to
which `phinas bench strategies` relates the regret if the reward is the score alone.
"""

import hashlib
import inspect
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any, Self

from phinas.experiment.artifacts.manifest import EvaluatorDescription
from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.executors.interface import (
    accepts_parameter,
    describe_failure,
    import_function,
)
from phinas.experiment.job_list import job_key
from phinas.experiment.schema.config import Recipe
from phinas.nas.evaluators.function_call import FUNCTION, requires_parameter
from phinas.nas.evaluators.interface import require_full_training
from phinas.space.network import Network
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.training.engine.job import TrainingJobFactory

_OPTIONAL_PARAMETERS = ("report", "stop_epoch", "resume_token", "choices")


class FunctionEvaluator:
    """Calls a user's function.

    Args:
        name: "package.module:function", importable here and in the workers.
        limit_seconds: Time limit of one call.
        key: The configuration key, for error messages.

    Raises:
        InputError: The function cannot be imported, does not take the parameters, takes a resume
            token without reporting, or states an optimum that is no score.

    Attributes:
        requires_choices: Whether it cannot be called without choices.
        optimum: The highest score, as the function states it. None if it does not.
    """

    runs_inline = False
    pool: tuple[Choices, ...] | None = None

    def __init__(self, name: str, limit_seconds: float, *, key: str = "search.evaluator") -> None:
        function = _import_user_function(name, key=key)
        self.reports_progress = accepts_parameter(function, "report")
        self._takes_token = accepts_parameter(function, "resume_token")
        self.supports_pausing = self._takes_token or accepts_parameter(function, "stop_epoch")
        # a table calls its third parameter otherwise, such as `_seed`
        self.depends_on_seed = accepts_parameter(function, "seed")
        self.uses_choices = accepts_parameter(function, "choices")
        self.requires_choices = requires_parameter(function, "choices")
        self.optimum = _read_optimum(function, name, key=key)
        self._source_sha256 = _hash_source(function)
        self._name = name
        self._limit_seconds = limit_seconds

    @classmethod
    def from_name(
        cls, name: str, *, job_factory: TrainingJobFactory | None, limit_seconds: float
    ) -> Self:
        del job_factory  # the function trains, if anything does
        return cls(name, limit_seconds)

    def make_job(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        stop_epoch: int | None = None,
        choices: Choices | None = None,
    ) -> Job:
        payload: dict[str, Any] = {
            "function": self._name,
            "spec": network.to_dict(),
            "budget": recipe.epochs,
            "seed": seed,
        }
        if self.uses_choices and choices is not None:
            payload["choices"] = choices
        elif self.requires_choices:
            raise ValueError(f"{self._name} needs the choices of a network")
        training_key = job_key(FUNCTION, payload) if self._takes_token else ""
        if stop_epoch is not None:
            require_full_training(None if self.supports_pausing else stop_epoch)
            payload["stop_epoch"] = stop_epoch
        return Job(
            job_key(FUNCTION, payload),
            FUNCTION,
            payload,
            self._limit_seconds,
            training_key=training_key,
            stop_epoch=stop_epoch,
        )

    def describe_scores(self) -> EvaluatorDescription:
        return EvaluatorDescription(
            scores=f"the return values of {self._name}", source_sha256=self._source_sha256
        )

    def require_space(self, space: SearchSpace) -> None:
        """Every space is accepted. A network that the function cannot score is a failed trial."""


def _import_user_function(name: str, *, key: str) -> Callable[..., Any]:
    try:
        function = import_function(name)
    # A user's module may raise anything while it is imported.
    except (Exception, SystemExit) as error:
        reason = describe_failure(error)
        raise InputError(
            f"{key}: {name!r} cannot be imported ({reason}); correct it, or add its folder to "
            "PYTHONPATH"
        ) from None
    if not callable(function) or isinstance(function, type):
        kind = "a class" if isinstance(function, type) else f"of type {type(function).__name__}"
        raise InputError(
            f"{key}: {name!r} is {kind}; name a function, or an object that can be called"
        )
    if not _has_valid_signature(function):
        raise InputError(
            f"{key}: {name!r} cannot be called with (spec, budget, seed); give it these three "
            "parameters"
        )
    if accepts_parameter(function, "resume_token") and not accepts_parameter(function, "report"):
        raise InputError(
            f"{key}: {name!r} takes a resume_token but no report; give it the parameter report, "
            "which says when a training pauses"
        )
    return function


def _read_optimum(function: Callable[..., Any], name: str, *, key: str) -> float | None:
    """The highest score that a function states. Raises InputError if it is not one."""
    optimum = getattr(function, "optimum", None)
    if optimum is None:
        return None
    is_number = isinstance(optimum, Real) and not isinstance(optimum, bool)
    if not is_number or not 0 <= float(optimum) <= 1:
        raise InputError(
            f"{key}: the attribute `optimum` of {name!r} is {optimum!r}; it is the highest score, "
            "from 0 to 1"
        )
    return float(optimum)


def _hash_source(function: Callable[..., Any]) -> str:
    """The SHA-256 of the file of the function's module, which identifies a version of the function.

    Empty if there is no file.
    """
    try:
        return hashlib.sha256(
            Path(inspect.getfile(inspect.unwrap(function))).read_bytes()
        ).hexdigest()
    except (TypeError, OSError):
        return ""


def _has_valid_signature(function: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin has no signature
        return True
    optional = {name: None for name in _OPTIONAL_PARAMETERS if name in signature.parameters}
    try:
        signature.bind("spec", "budget", "seed", **optional)
    except TypeError:
        return False
    return True
