"""Any evaluator with noise added to its accuracies, so that strategies on a table are compared as
in
life: there, a network trained again with another seed gives another accuracy."""

from typing import Any

import numpy as np

from phinas.experiment.executors import Job
from phinas.experiment.executors.interface import import_function
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe
from phinas.experiment.seeds import derive_seed
from phinas.nas.evaluators.interface import Evaluator
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec


class NoisyEvaluator:
    """noise_std: standard deviation of normal noise, drawn anew for each network and seed."""

    reports_progress = False

    def __init__(self, base_evaluator: Evaluator, noise_std: float) -> None:
        self._evaluator, self._noise_std = base_evaluator, noise_std
        self.runs_inline = base_evaluator.runs_inline

    def metadata(self) -> dict[str, Any]:
        metadata = self._evaluator.metadata()
        description = metadata.get("accuracies", "what the evaluator gives")
        description += f", with noise of {100 * self._noise_std:.2g} points added"
        return metadata | {"accuracies": description, "noise_std": self._noise_std}

    def require_space(self, space: SearchSpace) -> None:
        self._evaluator.require_space(space)

    def make_job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        base_job = self._evaluator.make_job(spec, recipe, seed)
        noise = {"noise_std": self._noise_std, "seed": derive_seed(seed, spec.spec_id)}
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
    """The job: what the inner evaluator's gives, with noise added; never outside 0 to 1."""
    value = import_function(function)(**payload)
    noise = float(np.random.default_rng(seed).normal()) * noise_std
    accuracy = Measurement.from_dict(value).accuracy + noise
    return value | {"accuracy": min(max(accuracy, 0.0), 1.0)}
