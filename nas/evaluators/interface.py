"""The interface of an evaluator."""

from typing import Any, Protocol

from phinas.experiment.executors import Job
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec


class Evaluator(Protocol):
    """`job(...)` describes the work; an executor does it. instant: a job takes milliseconds, and
    the driver may do it.
    reports: whether its jobs tell accuracies on their way."""

    instant: bool
    reports: bool

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job: ...

    def facts(self) -> dict[str, Any]:
        """What a reader of its results must know of it: `accuracies` says in words what they are;
        empty for trainings.
        """

    def require_space(self, searched: SearchSpace) -> None:
        """Raises InputError where it can say nothing of the networks of that space."""
