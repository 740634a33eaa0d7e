"""One training as a job of plain data, and the description that makes such jobs.

The key of a job hashes all that decides its result, and nothing that does not (paths, device,
threads, time limit), so a run can be moved and resumed elsewhere.
"""

import os
import signal
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.executors import Job, NonRetryableError, ReportCallback
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.spec import ArchSpec
from phinas.training.data.prepared_dataset import PreparedData, read_prepared

if TYPE_CHECKING:
    from phinas.training.engine.evaluate import Score
    from phinas.training.engine.train import TrainingResult

FUNCTION = "phinas.training.engine.job:run_training_job"


@dataclass(frozen=True)
class TrainingJobFactory:
    """Everything about a training but the network, the recipe and the seed.

    checkpoints: where long trainings leave their state, every `checkpoint_seconds`; None: they
    don't.
    """

    data: PreparedData
    max_shift: float
    horizontal_flip: bool
    device: str
    threads: int
    limit_seconds: float
    deterministic: bool = False
    checkpoints: Path | None = None
    checkpoint_seconds: float = 300.0

    @classmethod
    def from_config(
        cls,
        data: PreparedData,
        section: DataSection,
        *,
        run: RunSection,
        threads: int,
        checkpoints: Path | None,
    ) -> "TrainingJobFactory":
        return cls(
            data,
            section.max_shift,
            data.allow_flip if section.horizontal_flip == "auto" else section.horizontal_flip,
            run.device,
            threads,
            60 * run.trial_timeout_minutes,
            run.deterministic,
            checkpoints,
            60 * run.checkpoint_minutes,
        )

    def make_job(
        self,
        spec: ArchSpec,
        recipe: Recipe,
        seed: int,
        *,
        on_test_split: bool = False,
        weights: Path | None = None,
    ) -> Job:
        """The training of `spec`. on_test_split: evaluate on the test split; weights: where to
        write them.
        """
        hashed_arguments = {
            "spec": spec.to_dict(),
            "recipe": recipe.model_dump(),
            "seed": seed,
            "max_shift": self.max_shift,
            "horizontal_flip": self.horizontal_flip,
            "on_test_split": on_test_split,
        }
        key = job_key(FUNCTION, hashed_arguments | {"data": self.data.fingerprint})
        other_arguments = {
            "directory": str(self.data.directory),
            "device": self.device,
            "threads": self.threads,
            "deterministic": self.deterministic,
            "weights": str(weights) if weights else None,
            "checkpoint": [
                str(self.checkpoints / f"{key}.checkpoint"),
                key,
                self.checkpoint_seconds,
            ]
            if self.checkpoints
            else None,
        }
        return Job(key, FUNCTION, hashed_arguments | other_arguments, self.limit_seconds)


@lru_cache(maxsize=4)
def _load_data(directory: str) -> PreparedData:
    return read_prepared(Path(directory), verify_sha256=False)  # the driver has compared the hashes


def run_training_job(
    *,
    spec: dict[str, Any],
    recipe: dict[str, Any],
    seed: int,
    max_shift: float,
    horizontal_flip: bool,
    on_test_split: bool,
    directory: str,
    device: str,
    threads: int,
    deterministic: bool,
    weights: str | None,
    checkpoint: list[Any] | None,
    report: ReportCallback = lambda _step, _value: True,
) -> dict[str, Any]:
    """The job: train and measure; the Measurement as a dict. Its `curve` is of the proxy-validation
    split in any case.
    """
    import torch

    from phinas.training.data.dataloader import set_gpu_sharing
    from phinas.training.engine.checkpoint import CheckpointManager, stop_on_signals
    from phinas.training.engine.device import resolve_device, set_determinism, workers_sharing_gpu
    from phinas.training.engine.evaluate import evaluate_test_split
    from phinas.training.engine.train import train
    from phinas.training.engine.weights_io import save_weights

    torch.set_num_threads(threads)
    set_determinism(deterministic=deterministic)
    set_gpu_sharing(workers_sharing_gpu(device))
    network = ArchSpec.from_dict(spec)
    data = _load_data(directory)
    checkpoints = (
        CheckpointManager(Path(checkpoint[0]), checkpoint[1], seconds=checkpoint[2])
        if checkpoint
        else None
    )
    # asked to end by SIGTERM; in the driver, signals are the driver's
    in_worker = "PHINAS_WORKER_INDEX" in os.environ
    with (
        stop_on_signals(checkpoints, signal.SIGTERM) if checkpoints and in_worker else nullcontext()
    ):
        try:
            result = train(
                network,
                data,
                recipe=Recipe(**recipe),
                max_shift=max_shift,
                horizontal_flip=horizontal_flip,
                seed=seed,
                device=resolve_device(device),
                report=report,
                checkpoints=checkpoints,
            )
        except NonRetryableError:
            if checkpoints:
                checkpoints.remove()
            raise
    score = result.curve[-1]
    if on_test_split:
        score = evaluate_test_split(
            result.model, data, resolution=network.resolution, mean=result.mean, std=result.std
        )
    if weights:
        save_weights(result.model, network, Path(weights))
    if checkpoints:
        checkpoints.remove()
    return make_measurement(
        result, score, split="test" if on_test_split else "validation", seed=seed
    ).to_dict()


def make_measurement(
    result: "TrainingResult", score: "Score", *, split: str, seed: int
) -> Measurement:
    """What a training came to, as `score` has it."""
    from phinas.training.engine.device import describe_device

    return Measurement(
        accuracy=score.accuracy,
        split=split,
        images=score.images,
        loss=score.loss,
        top5=score.top5,
        seed=seed,
        epochs=len(result.curve),
        train_seconds=result.train_seconds,
        images_per_second=result.images_per_second,
        curve=tuple(point.accuracy for point in result.curve),
        device=describe_device(result.mean.device),
        correct=score.correct,
        per_class_accuracy=tuple(round(accuracy, 6) for accuracy in score.per_class_accuracy),
        stop_reason=result.stop_reason,
        micro_batch_size=result.micro_batch_size if result.micro_batch_reduced else 0,
        peak_memory_bytes=result.peak_memory_bytes,
    )
