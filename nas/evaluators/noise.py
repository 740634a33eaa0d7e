"""An evaluator that adds noise to the scores of another one, so that strategies on a benchmark are
compared under the training noise of real trainings.
"""

from typing import Any

import numpy as np

from phinas.experiment.artifacts.manifest import EvaluatorDescription
from phinas.experiment.executors import Job
from phinas.experiment.executors.interface import import_function
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe
from phinas.experiment.seeds import derive_seed
from phinas.nas.evaluators.interface import Evaluator, require_full_training
from phinas.space.network import Network
from phinas.space.search_spaces.search_space import Choices, SearchSpace


class NoisyEvaluator:
    """Adds normal noise to the scores of another evaluator.

    Args:
        base_evaluator: The other evaluator.
        noise_std: Standard deviation of the noise. Its value is determined by the seed and by the
            network, or the choices where those are scored.
    """

    reports_progress = False
    supports_pausing = False
    depends_on_seed = True

    def __init__(self, base_evaluator: Evaluator, noise_std: float) -> None:
        self._evaluator, self._noise_std = base_evaluator, noise_std
        self.runs_inline = base_evaluator.runs_inline
        self.uses_choices, self.pool = base_evaluator.uses_choices, base_evaluator.pool

    def describe_scores(self) -> EvaluatorDescription:
        description = self._evaluator.describe_scores()
        if description is None:
            description = EvaluatorDescription(scores="the scores of the evaluator")
        scores = f"{description.scores}, with noise of {100 * self._noise_std:.2g} points added"
        return description.model_copy(update={"scores": scores, "noise_std": self._noise_std})

    def require_space(self, space: SearchSpace) -> None:
        self._evaluator.require_space(space)

    def make_job(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        stop_epoch: int | None = None,
        choices: Choices | None = None,
    ) -> Job:
        require_full_training(stop_epoch)
        base_job = self._evaluator.make_job(network, recipe, seed, choices=choices)
        scored = network.network_id
        if self.uses_choices and choices is not None:
            scored = "/".join([scored, *(f"{name}={choices[name]}" for name in sorted(choices))])
        noise = {"noise_std": self._noise_std, "seed": derive_seed(seed, scored)}
        payload = {"function": base_job.function, "payload": base_job.payload, **noise}
        function = "phinas.nas.evaluators.noise:add_noise"
        return Job(
            job_key(function, noise | {"inner": base_job.key}),
            function,
            payload,
            base_job.limit_seconds,
        )


def add_noise(
    *, function: str, payload: dict[str, Any], noise_std: float, seed: int
) -> dict[str, Any]:
    """The job: run a job of the other evaluator and add noise to its score, clipped to 0 to 1."""
    value = import_function(function)(**payload)
    noise = float(np.random.default_rng(seed).normal()) * noise_std
    score = Measurement.from_dict(value).score + noise
    return value | {"score": min(max(score, 0.0), 1.0)}
