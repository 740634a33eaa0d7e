"""A short training on the proxy task: the data set's own images, a small resolution, few epochs."""

from typing import Any

from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec
from phinas.training.engine.job import Trainer


class ProxyEvaluator:
    """Measures on the proxy-validation split; the test split is not opened."""

    instant = False
    reports = True

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        return self._trainer.job(spec, recipe, seed)

    def facts(self) -> dict[str, Any]:
        return {}

    def require_space(self, searched: SearchSpace) -> None:
        """Any network can be trained."""
