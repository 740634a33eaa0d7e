"""The evaluator `curves:FILE`: it reads the score of a network from a file of learning curves.

A search then evaluates only the networks of the file, can pause and prune their trainings, and
takes milliseconds. So it shows how many epochs a strategy needs.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from phinas.experiment.artifacts.learning_curves import LearningCurves
from phinas.experiment.artifacts.manifest import EvaluatorDescription
from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job, NonRetryableError, ReportCallback
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.network import Network
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.training.engine.job import TrainingJobFactory


class CurvesEvaluator:
    """Scores networks by their recorded learning curves.

    Args:
        path: A file of `LearningCurves`.
        limit_seconds: Time limit of a job.

    Raises:
        InputError: The file does not exist or is damaged.

    Attributes:
        pool: The choices of the networks in the file, to which a search is limited.
    """

    runs_inline = True
    reports_progress = True
    supports_pausing = True
    depends_on_seed = False
    uses_choices = True

    def __init__(self, path: str, *, limit_seconds: float) -> None:
        self._path = Path(path).expanduser().absolute()
        self._limit_seconds = limit_seconds
        self._file = LearningCurves.read(self._path)
        self.pool = tuple(_to_choices(self._file, values) for values in self._file.networks)

    @classmethod
    def from_name(
        cls, name: str, *, job_factory: TrainingJobFactory | None, limit_seconds: float
    ) -> Self:
        del job_factory  # nothing is trained
        path = name.partition(":")[2]
        if not path:
            raise InputError(f"search.evaluator: {name!r} names no file; write curves:FILE")
        return cls(path, limit_seconds=limit_seconds)

    def batch_score_fn(self, space: SearchSpace) -> Callable[[Indices], FloatArray]:
        """The function that looks up the final scores of many networks.

        Returns:
            A function from indices of choices, (networks, decisions), to scores, (networks,).
        """
        curves = _read_curves(str(self._path))

        def final_scores(indices: Indices) -> FloatArray:
            all_choices = [space.from_indices(row) for row in indices.tolist()]
            return np.array(
                [
                    curves[tuple(choices[name] for name in self._file.decisions)][-1]
                    for choices in all_choices
                ]
            )

        return final_scores

    def describe_scores(self) -> EvaluatorDescription:
        return EvaluatorDescription(scores=f"recorded learning curves: {self._file.description}")

    def require_space(self, space: SearchSpace) -> None:
        """Raises InputError if the networks in the file are not networks of this space."""
        names = tuple(decision.name for decision in space.decisions)
        if names != self._file.decisions:
            raise InputError(
                f"search.space: {space.name!r} does not have the decisions of {self._path.name}; "
                f"use --space {self._file.space}"
            )
        for choices in self.pool:
            try:
                space.decode(choices)
            except ValueError as error:
                raise InputError(
                    f"search.space: {space.name!r} lacks a network of {self._path.name} ({error}); "
                    f"use --space {self._file.space}"
                ) from None

    def make_job(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        stop_epoch: int | None = None,
        choices: Choices | None = None,
    ) -> Job:
        del network  # found by its choices
        if choices is None:
            raise ValueError(f"{self._path.name} has the choices of networks")
        if recipe.epochs != self._file.epochs:
            raise InputError(
                f"search.recipe.epochs: {recipe.epochs} are not the {self._file.epochs} of the "
                f"curves in {self._path.name}; set search.recipe.epochs={self._file.epochs}"
            )
        payload = {
            "path": str(self._path),
            "choices": [choices[name] for name in self._file.decisions],
            "seed": seed,
            "stop_epoch": stop_epoch,
        }
        function = "phinas.nas.evaluators.curves:look_up_curve"
        return Job(
            job_key(function, payload | {"path": self._file.description}),
            function,
            payload,
            self._limit_seconds,
        )


def _to_choices(file: LearningCurves, values: Sequence[Any]) -> Choices:
    return dict(zip(file.decisions, values, strict=True))


@lru_cache(maxsize=4)
def _read_curves(path: str) -> dict[tuple[Any, ...], tuple[float, ...]]:
    """The first curve of each network, by its choices."""
    file = LearningCurves.read(Path(path))
    curves: dict[tuple[Any, ...], tuple[float, ...]] = {}
    for curve in file.curves:
        curves.setdefault(file.networks[curve.network], curve.accuracies)
    return curves


def look_up_curve(
    *,
    path: str,
    choices: list[Any],
    seed: int,
    stop_epoch: int | None,
    report: ReportCallback = lambda _epoch, _score: True,
) -> dict[str, Any]:
    """The job: report the scores of a network up to an epoch."""
    curve = _read_curves(path).get(tuple(choices))
    if curve is None:
        raise NonRetryableError(f"{Path(path).name} has no curve of these choices")
    num_epochs = 0
    for score in curve[:stop_epoch]:
        num_epochs += 1
        if not report(num_epochs, score):
            break
    return Measurement(
        score=curve[num_epochs - 1],
        split="table",
        seed=seed,
        epochs=num_epochs,
        curve=curve[:num_epochs],
        stop_reason="" if num_epochs == len(curve) else "paused",
    ).to_dict()
