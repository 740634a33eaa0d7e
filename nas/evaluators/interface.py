"""The interface of an evaluator."""

from typing import Any, Protocol

from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec


class Evaluator(Protocol):
    """`make_job(...)` describes the work; an executor does it. runs_inline: a job takes
    milliseconds, and the driver may do it.
    reports_progress: whether its jobs tell accuracies on their way."""

    runs_inline: bool
    reports_progress: bool

    def make_job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job: ...

    def metadata(self) -> dict[str, Any]:
        """What a reader of its results must know of it: `accuracies` says in words what they are;
        empty for trainings.
        """

    def require_space(self, space: SearchSpace) -> None:
        """Raises InputError where it can say nothing of the networks of that space."""
