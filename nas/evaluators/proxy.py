"""The evaluator `proxy`: a short training on the images of the run, at a low resolution."""

from typing import Self

from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Recipe
from phinas.space.network import Network
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.training.engine.job import TrainingJobFactory


class ProxyEvaluator:
    """Trains each network and scores it on the validation split. The test split is not opened.

    Args:
        job_factory: Describes the trainings.
    """

    runs_inline = False
    reports_progress = True
    supports_pausing = True
    depends_on_seed = True
    uses_choices = False
    pool: tuple[Choices, ...] | None = None

    def __init__(self, job_factory: TrainingJobFactory) -> None:
        self._job_factory = job_factory

    @classmethod
    def from_name(
        cls, name: str, *, job_factory: TrainingJobFactory | None, limit_seconds: float
    ) -> Self:
        # The time limit is the job factory's.
        del limit_seconds
        if job_factory is None:
            raise InputError(
                f"search.evaluator: {name} trains networks, and there are no images; name them "
                "with --data"
            )
        return cls(job_factory)

    def make_job(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        stop_epoch: int | None = None,
        choices: Choices | None = None,
    ) -> Job:
        del choices  # the network is trained
        return self._job_factory.make_job(network, recipe, seed, stop_epoch=stop_epoch)

    def describe_scores(self) -> None:
        """The scores come from trainings."""

    def require_space(self, space: SearchSpace) -> None:
        """Any network can be trained."""
