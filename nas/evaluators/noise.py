"""Any evaluator with noise added to its accuracies, so that searchers on a table are compared as in
life: there, a network trained again with another seed gives another accuracy."""

from typing import Any

import numpy as np

from phinas.experiment.executors import Job
from phinas.experiment.executors.interface import resolve
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe
from phinas.experiment.seeds import seed_of
from phinas.nas.evaluators.interface import Evaluator
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec


class NoisyEvaluator:
    """deviation: standard deviation of normal noise, drawn anew for each network and seed."""

    reports = False

    def __init__(self, inner: Evaluator, deviation: float) -> None:
        self._inner, self._deviation = inner, deviation
        self.instant = inner.instant

    def facts(self) -> dict[str, Any]:
        facts = self._inner.facts()
        told = facts.get("accuracies", "what the evaluator gives")
        told += f", with noise of {100 * self._deviation:.2g} points added"
        return facts | {"accuracies": told, "noise_added": self._deviation}

    def require_space(self, searched: SearchSpace) -> None:
        self._inner.require_space(searched)

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        inner = self._inner.job(spec, recipe, seed)
        luck = {"deviation": self._deviation, "seed": seed_of(seed, spec.spec_id)}
        payload = {"function": inner.function, "payload": inner.payload, **luck}
        function = "phinas.nas.evaluators.noise:measure"
        return Job(
            job_key(function, luck | {"inner": inner.key}), function, payload, inner.limit_seconds
        )


def measure(
    *, function: str, payload: dict[str, Any], deviation: float, seed: int
) -> dict[str, Any]:
    """The job: what the inner evaluator's gives, with noise added; never outside 0 to 1."""
    value = resolve(function)(**payload)
    noise = float(np.random.default_rng(seed).normal()) * deviation
    accuracy = Measurement.from_dict(value).accuracy + noise
    return value | {"accuracy": min(max(accuracy, 0.0), 1.0)}
