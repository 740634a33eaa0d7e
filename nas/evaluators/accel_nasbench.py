"""The evaluator `accel-nasbench`: it predicts the ImageNet accuracy of any network of the space of
Accel-NASBench (2024) in a millisecond, without a GPU.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from phinas.experiment.artifacts.manifest import EvaluatorDescription
from phinas.experiment.errors import InputError
from phinas.experiment.executors import Job
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe
from phinas.nas.evaluators.accel_nasbench_surrogate import (
    ADVICE,
    SPACE_NAME,
    benchmark_space,
    load_surrogate,
    read_records,
)
from phinas.nas.evaluators.interface import require_full_training
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.network import Network
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec, SpecError
from phinas.training.engine.job import TrainingJobFactory


class AccelNasbenchEvaluator:
    """Scores networks by the fitted surrogate.

    Args:
        path: The archive with the records of the authors.
        limit_seconds: Time limit of a job.

    Raises:
        InputError: The archive does not exist or cannot be read.
    """

    runs_inline = True
    reports_progress = False
    supports_pausing = False
    depends_on_seed = False
    uses_choices = False
    pool: tuple[Choices, ...] | None = None

    def __init__(self, path: str, *, limit_seconds: float) -> None:
        self._path = Path(path).expanduser().absolute()
        if not self._path.exists():
            raise InputError(f"search.evaluator: {path!r} does not exist; {ADVICE}")
        # Takes a second. A damaged archive is an error before anything is written.
        read_records(self._path)
        self._limit_seconds = limit_seconds

    @classmethod
    def from_name(
        cls, name: str, *, job_factory: TrainingJobFactory | None, limit_seconds: float
    ) -> Self:
        del job_factory  # nothing is trained
        path = name.partition(":")[2]
        if not path:
            raise InputError(
                f"search.evaluator: {name!r} names no archive; write accel-nasbench:PATH"
            )
        return cls(path, limit_seconds=limit_seconds)

    def describe_scores(self) -> EvaluatorDescription:
        surrogate = load_surrogate(self._path)
        scores = f"held-out R2 {surrogate.r2:.3f}, Kendall tau {surrogate.tau:.3f}"
        return EvaluatorDescription(
            scores=f"Gaussian process fitted to {len(surrogate.train_features):,} networks of "
            f"Accel-NASBench ({scores})",
            held_out_r2=surrogate.r2,
            held_out_kendall_tau=surrogate.tau,
        )

    def require_space(self, search_space: SearchSpace) -> None:
        """Raises InputError if the benchmark has no accuracies for the networks of this space."""
        first_choices = {decision.name: decision.values[0] for decision in search_space.decisions}
        for name, value in (
            (decision.name, value)
            for decision in search_space.decisions
            for value in decision.values
        ):
            try:
                encode(benchmark_space(), search_space.decode(first_choices | {name: value}))
            except SpecError as error:
                raise InputError(
                    f"search.space: {search_space.name!r} has networks outside the space "
                    f"{SPACE_NAME!r} of accel-nasbench ({error}); use --space {SPACE_NAME} at its "
                    "own resolution"
                ) from None

    def batch_score_fn(self, search_space: SearchSpace) -> Callable[[Indices], FloatArray]:
        """The function that predicts many networks at once.

        Returns:
            A function from indices of choices of this space, (networks, decisions), to accuracies
            from 0 to 1, (networks,).
        """
        surrogate = load_surrogate(self._path)
        if search_space == benchmark_space():
            return surrogate.accuracies

        def accuracies(indices: Indices) -> FloatArray:
            specs = [
                search_space.decode(search_space.from_indices(row)) for row in indices.tolist()
            ]
            return surrogate.accuracies(
                np.array(
                    [
                        benchmark_space().to_indices(encode(benchmark_space(), spec))
                        for spec in specs
                    ]
                )
            )

        return accuracies

    def make_job(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        stop_epoch: int | None = None,
        choices: Choices | None = None,
    ) -> Job:
        del choices  # each network has one set of choices in the benchmark
        require_full_training(stop_epoch)
        payload = {"path": str(self._path), "spec": network.to_dict(), "seed": seed}
        function = "phinas.nas.evaluators.accel_nasbench:look_up_accuracy"
        key = job_key(function, payload | {"path": "", "recipe": recipe.model_dump()})
        return Job(key, function, payload, self._limit_seconds)


def look_up_accuracy(*, path: str, spec: dict[str, Any], seed: int) -> dict[str, Any]:
    """The job: predict the accuracy of one network."""
    indices = np.array(
        [benchmark_space().to_indices(encode(benchmark_space(), ArchSpec.from_dict(spec)))]
    )
    accuracy = float(load_surrogate(Path(path)).accuracies(indices)[0])
    return Measurement(score=accuracy, split="table", seed=seed).to_dict()
