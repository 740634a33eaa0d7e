"""The interface between a search and its evaluator."""

from typing import Protocol, Self

from phinas.experiment.artifacts.manifest import EvaluatorDescription
from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Recipe
from phinas.space.network import Network
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.training.engine.job import TrainingJobFactory


def require_full_training(stop_epoch: int | None) -> None:
    """Raises ValueError if a job of an evaluator that cannot pause has a stop epoch."""
    if stop_epoch is not None:
        raise ValueError("this evaluator does not support pausing")


class Evaluator(Protocol):
    """Describes how a network is scored. An executor does the work.

    Attributes:
        runs_inline: Whether a job takes milliseconds, so that the driver may run it.
        reports_progress: Whether its jobs report the score after each epoch, which pruning needs.
        supports_pausing: Whether its jobs can stop after an epoch and continue in a later job,
            which strategies that resume trainings need.
        depends_on_seed: Whether a training with another seed gives another score, which that of a
            table does not.
        uses_choices: Whether the score depends on the choices of a network, as in the table of a
            benchmark, where several sets of choices may decode to one network.
        pool: The choices of the only networks that it can score. None: it can score any network of
            the search space.
    """

    runs_inline: bool
    reports_progress: bool
    supports_pausing: bool
    depends_on_seed: bool
    uses_choices: bool
    pool: tuple[Choices, ...] | None

    def make_job(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        stop_epoch: int | None = None,
        choices: Choices | None = None,
    ) -> Job:
        """Describe the training of one network.

        Args:
            network: The network.
            recipe: How it is trained.
            seed: Seed of the training.
            stop_epoch: Pause after this epoch. The schedules are those of all `recipe.epochs`. A
                later job with a larger epoch has the same result as a training that was never
                paused. None trains to the end. Only if `supports_pausing`. A job with a
                `training_key` leaves a `PausedState`, from which the later job is resumed.
            choices: The choices of the network, in which inactive ones have their first value.
                Required if `uses_choices`, otherwise ignored.
        """

    def describe_scores(self) -> EvaluatorDescription | None:
        """Describe the scores for the manifest and the report. None if they come from trainings."""

    def require_space(self, space: SearchSpace) -> None:
        """Raises InputError if the evaluator cannot score the networks of this space."""


class NamedEvaluator(Evaluator, Protocol):
    """An evaluator that `search.evaluator` can name."""

    @classmethod
    def from_name(
        cls, name: str, *, job_factory: TrainingJobFactory | None, limit_seconds: float
    ) -> Self:
        """Make the evaluator.

        Args:
            name: The value of `search.evaluator`.
            job_factory: Describes trainings. None without images.
            limit_seconds: Time limit of one job that is not a training.

        Raises:
            InputError: The evaluator cannot be imported, or its file cannot be read.
        """
