"""One training as a job of plain data, and the factory that makes such jobs.

The key of a job is a hash of everything that decides its result. Paths, device, threads and time
limit are not part of it, so a run can be moved and resumed elsewhere.
"""

import os
import signal
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.artifacts.manifest import AutoPrecision
from phinas.experiment.executors import Job, NonRetryableError, ReportCallback
from phinas.experiment.executors.job_files import NO_FILES, JobFiles
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.paused_state import PAUSED_STATE, PausedState
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.network import Network
from phinas.training.data.prepared_dataset import PreparedData, read_prepared
from phinas.training.request import CapturePolicy, TrainingRequest, TrainingSettings

if TYPE_CHECKING:
    from phinas.training.engine.checkpoint import CheckpointManager, PauseFiles
    from phinas.training.engine.evaluate import Evaluation
    from phinas.training.engine.train import TrainingResult

_FAILED_CAPTURE_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h
FUNCTION = "phinas.training.engine.job:run_training_job"


@dataclass(frozen=True)
class TrainingJobFactory:
    """Makes the training jobs of a run.

    Args:
        data: the prepared images.
        settings: the settings that all trainings of the run share.
        limit_seconds: time limit of a job.
        auto_precision: what `precision: auto` of a recipe means in this run. It changes the result,
            so it is part of a job's key.
        checkpoints: folder of the checkpoints, from which a training resumes after an interruption.
            Without one (None) trainings write no checkpoints.
        checkpoint_seconds: time between two checkpoints of a training.
    """

    data: PreparedData
    settings: TrainingSettings
    limit_seconds: float
    auto_precision: AutoPrecision = "fp32"
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
        metric: str = "accuracy",
        auto_precision: AutoPrecision = "fp32",
    ) -> "TrainingJobFactory":
        """Make the factory for the sections `data` and `run` of a configuration."""
        flip = section.horizontal_flip
        settings = TrainingSettings(
            max_shift=section.max_shift,
            horizontal_flip=data.allow_flip if flip == "auto" else flip,
            metric=metric,
            device=run.device,
            threads=threads,
            deterministic=run.deterministic,
        )
        return cls(
            data,
            settings,
            60 * run.trial_timeout_minutes,
            auto_precision,
            checkpoints,
            60 * run.checkpoint_minutes,
        )

    def make_job(
        self,
        network: Network,
        recipe: Recipe,
        seed: int,
        *,
        stop_epoch: int | None = None,
        on_test_split: bool = False,
        weights: Path | None = None,
    ) -> Job:
        """Make the job that trains a network.

        Args:
            network: the network to train.
            recipe: the recipe; the learning rate follows the schedule of all its epochs.
            seed: seed of the training.
            stop_epoch: pause after this epoch. The measurement is then that of the epochs so far,
                with the stop reason "paused". A later job of the same training with a larger
                `stop_epoch`, or with None, continues from the state that `PausedTrainings` gives
                it, bit-exactly on a CPU. Without one, it trains from the start to the same result.
            on_test_split: evaluate on the test split; not allowed with `stop_epoch`.
            weights: file for the trained weights; not allowed with `stop_epoch`.

        Raises:
            ValueError: `stop_epoch` is not an epoch of the recipe, or is combined with
                `on_test_split` or `weights`.
        """
        if stop_epoch is not None and (on_test_split or weights):
            raise ValueError(
                "stop_epoch: a paused training has no test score and no weights; omit "
                "on_test_split and weights"
            )
        if stop_epoch == recipe.epochs:
            stop_epoch = None
        if recipe.precision == "auto":
            recipe = recipe.model_copy(update={"precision": self.auto_precision})
        request = TrainingRequest(network, recipe, seed, self.settings, stop_epoch)
        training_key = self._training_key(request, on_test_split=on_test_split)
        payload = {
            "request": request.to_dict(),
            "data": str(self.data.directory),
            "on_test_split": on_test_split,
            "weights": str(weights) if weights else None,
            "checkpoint": {
                "key": training_key,
                "folder": str(self.checkpoints) if self.checkpoints else None,
                "seconds": self.checkpoint_seconds,
            },
        }
        key = training_key
        if stop_epoch is not None:
            key = job_key(FUNCTION, {"training": training_key, "stop_epoch": stop_epoch})
        return Job(
            key,
            FUNCTION,
            payload,
            self.limit_seconds,
            training_key=training_key,
            stop_epoch=stop_epoch,
        )

    def _training_key(self, request: TrainingRequest, *, on_test_split: bool) -> str:
        """Return the key of the full training, which is the same for jobs that pause it."""
        hashed_arguments = {
            "network": request.network.to_dict(),
            "recipe": request.recipe.model_dump(),
            "seed": request.seed,
            "max_shift": self.settings.max_shift,
            "horizontal_flip": self.settings.horizontal_flip,
            "metric": self.settings.metric,
            "on_test_split": on_test_split,
            "data": self.data.fingerprint,
        }
        return job_key(FUNCTION, hashed_arguments)


@lru_cache(maxsize=4)
def _load_data(directory: str) -> PreparedData:
    return read_prepared(Path(directory), verify_sha256=False)  # the driver has verified the hashes


def run_training_job(
    *,
    request: dict[str, Any],
    data: str,
    on_test_split: bool,
    weights: str | None,
    checkpoint: dict[str, Any],
    paused_state: dict[str, Any] | None = None,
    files: JobFiles = NO_FILES,
    report: ReportCallback = lambda _step, _value: True,
) -> dict[str, Any]:
    """Train and evaluate one network; the function of the training jobs.

    Args:
        request: data of `TrainingRequest.to_dict`.
        data: folder of the prepared images.
        on_test_split: evaluate the trained network on the test split. The curve is always that of
            the validation split.
        weights: file for the trained weights; None writes none.
        checkpoint: `key` of the training, `folder` of the checkpoints (None writes none) and
            `seconds` between two of them.
        paused_state: data of the `PausedState` from which the training is resumed; None for none.
        files: the files of the job, which contain the states of the paused training.
        report: called with (epoch, score) after each epoch; False stops the training.

    Returns:
        The `Measurement` as a dict, with the `PausedState` if the training paused and left one.
    """
    from phinas.training.data.dataloader import set_gpu_sharing
    from phinas.training.engine.checkpoint import CheckpointManager, PauseFiles
    from phinas.training.engine.device import workers_sharing_gpu
    from phinas.training.engine.evaluate import evaluate_test_split
    from phinas.training.engine.weights_io import save_weights

    training = TrainingRequest.from_dict(request)
    network = training.network
    set_gpu_sharing(workers_sharing_gpu(training.settings.device))
    prepared = _load_data(data)
    checkpoints = (
        CheckpointManager(
            Path(checkpoint["folder"], f"{checkpoint['key']}.checkpoint"),
            checkpoint["key"],
            seconds=checkpoint["seconds"],
        )
        if checkpoint["folder"]
        else None
    )
    state = PausedState.from_dict(paused_state)
    pause_files = PauseFiles(
        checkpoint["key"],
        source=files.find(state.file) if state else None,
        target=files.output_path(PAUSED_STATE) if training.stop_epoch is not None else None,
    )
    failed_capture = _FailedCapture(checkpoints)
    result = _train(training, prepared, checkpoints, pause_files, report, failed_capture)
    evaluation = result.curve[-1]
    if on_test_split:
        evaluation = evaluate_test_split(
            result.model,
            prepared,
            resolution=network.resolution,
            mean=result.mean,
            std=result.std,
            metric=training.settings.metric,
        )
    if weights:
        normalization = (prepared.mean, prepared.std)
        save_weights(result.model, network, Path(weights), normalization=normalization)
    if checkpoints:
        checkpoints.remove()
        failed_capture.remove()
    split = "test" if on_test_split else "validation"
    value = make_measurement(
        result, evaluation, split=split, seed=training.seed, metric=training.settings.metric
    ).to_dict()
    if result.stop_reason == "paused" and pause_files.target is not None:
        value[PAUSED_STATE] = PausedState(len(result.curve), file=PAUSED_STATE).to_dict()
    return value


def _train(
    request: TrainingRequest,
    data: PreparedData,
    checkpoints: "CheckpointManager | None",
    pause_files: "PauseFiles",
    report: ReportCallback,
    failed_capture: "_FailedCapture",
) -> "TrainingResult":
    """Train. In a worker process SIGTERM stops the training after it wrote a checkpoint."""
    from phinas.training.engine.checkpoint import stop_on_signals
    from phinas.training.engine.train import train
    from phinas.training.engine.train_step import CaptureError

    # a training inside the driver process must not replace its signal handlers
    in_worker = _is_worker()
    settings = replace(request.settings, keep_images=in_worker, capture=failed_capture.policy)
    with (
        stop_on_signals(checkpoints, signal.SIGTERM) if checkpoints and in_worker else nullcontext()
    ):
        try:
            result = train(
                replace(request, settings=settings),
                data,
                report=report,
                checkpoints=checkpoints,
                pause_files=pause_files,
            )
            message = failed_capture.message
            return replace(result, cuda_graph=f"failed: {message}") if message else result
        except CaptureError as error:
            failed_capture.end_worker(str(error))
            raise
        except NonRetryableError:
            if checkpoints:
                checkpoints.remove()
            raise


def _is_worker() -> bool:
    return "PHINAS_WORKER_INDEX" in os.environ


class _FailedCapture:
    """What is known of a failed capture of this training, for its next attempt.

    After a failed capture, torch before 2.13 cannot train in the same process. The worker then
    writes the error next to the checkpoint and ends. The driver repeats the job, as after any crash
    (`run.retry_on`), and that attempt captures nothing.
    """

    def __init__(self, checkpoints: "CheckpointManager | None") -> None:
        self._path = checkpoints.path.with_suffix(".uncaptured") if checkpoints else None

    @property
    def message(self) -> str:
        """The error of the failed capture; "" if there was none."""
        return self._path.read_text() if self._path and self._path.exists() else ""

    @property
    def policy(self) -> CapturePolicy:
        from phinas.training.engine.train_step import is_process_usable_after_failed_capture

        if self.message:
            return "never"
        can_retry = self._path is not None and _is_worker()
        if can_retry and not is_process_usable_after_failed_capture():
            return "required"
        return "if_possible"

    def end_worker(self, message: str) -> None:
        """Leave the message for the next attempt, and end this process."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(message or "unknown error")
            os._exit(_FAILED_CAPTURE_EXIT_CODE)

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def make_measurement(
    result: "TrainingResult",
    evaluation: "Evaluation",
    *,
    split: str,
    seed: int,
    metric: str = "accuracy",
) -> Measurement:
    """Make the measurement of a training.

    Args:
        result: the result of the training.
        evaluation: evaluation of the trained network on the images of `split`.
        split: "validation" or "test".
        seed: seed of the training.
        metric: "accuracy", "balanced_accuracy" or "macro_f1": the metric of the score, of the curve
            and of the evaluation's bootstrap replicates.
    """
    from phinas.training.engine.device import describe_device

    return Measurement(
        score=evaluation.score(metric),
        metric=metric,
        resampled_scores=evaluation.resampled_scores,
        split=split,
        images=evaluation.images,
        loss=evaluation.loss,
        top5=evaluation.top5,
        seed=seed,
        epochs=len(result.curve),
        train_seconds=result.train_seconds,
        images_per_second=result.images_per_second,
        curve=tuple(point.score(metric) for point in result.curve),
        device=describe_device(result.mean.device),
        correct=evaluation.correct,
        per_class_accuracy=tuple(round(accuracy, 6) for accuracy in evaluation.per_class_accuracy),
        stop_reason=result.stop_reason,
        micro_batch_size=result.micro_batch_size if result.micro_batch_reduced else 0,
        peak_memory_bytes=result.peak_memory_bytes,
        cuda_graph=result.cuda_graph,
    )
