"""A short training on the proxy task: the data set's own images, a small resolution, few epochs."""

from typing import Any

from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec
from phinas.training.engine.job import TrainingJobFactory


class ProxyEvaluator:
    """Measures on the proxy-validation split; the test split is not opened."""

    runs_inline = False
    reports_progress = True

    def __init__(self, job_factory: TrainingJobFactory) -> None:
        self._job_factory = job_factory

    def make_job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        return self._job_factory.make_job(spec, recipe, seed)

    def metadata(self) -> dict[str, Any]:
        return {}

    def require_space(self, space: SearchSpace) -> None:
        """Any network can be trained."""
