"""The training of a fit: checkpoints, signals and progress."""

import os
import signal
import time
from functools import partial

import torch

from phinas.experiment.errors import InputError, NoResultError, SignalInterrupt
from phinas.experiment.executors import NonRetryableError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.job_list import job_key
from phinas.experiment.manifest import file_sha256
from phinas.experiment.schema.config import FitSection, flatten_section
from phinas.experiment.schema.fit import CHANGEABLE_KEYS
from phinas.fit_pipeline.fit_record import FitRecord
from phinas.space.blocks import ConvNet
from phinas.terminal.progress import Display, ProgressCallback
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.data.sources.hf_hub import resolve_weights_path
from phinas.training.engine.checkpoint import CheckpointManager, stop_on_signals
from phinas.training.engine.device import resolve_device, set_determinism
from phinas.training.engine.distributed import DistributedContext
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.train import TrainingResult, train
from phinas.training.engine.trainer import TrainingPaused
from phinas.training.engine.weights_io import load_pretrained


def train_network(
    fit_dir: FitDir,
    record: FitRecord,
    data: PreparedData,
    distributed: DistributedContext,
    *,
    device: str,
    display: Display,
) -> tuple[TrainingResult, CheckpointManager]:
    """The training, from the last checkpoint if there is one; and the checkpoints, to be
    removed once its results are kept.

    Raises NoResultError where it came to nothing, SignalInterrupt after a signal.
    """
    config = record.config
    torch.set_num_threads(_threads(config))
    set_determinism(deterministic=config.deterministic)
    config_values = {
        name: value
        for name, value in flatten_section(config).items()
        if name not in CHANGEABLE_KEYS
    }
    identity = {
        "batch_size": record.batch_size,
        "spec": record.spec.to_dict(),
        "weights": record.weights_sha256,
        "data": data.fingerprint,
    }
    checkpoints = CheckpointManager(
        fit_dir.checkpoint,
        job_key("fit", config_values | identity),
        seconds=60 * config.checkpoint_minutes,
    )
    initialization = Initialization(
        partial(_load_weights, record) if config.weights else lambda _network: None,
        config.freeze_backbone,
    )
    stopping = stop_on_signals(
        checkpoints, signal.SIGINT, signal.SIGTERM, on_repeat=lambda number: os._exit(128 + number)
    )
    with (
        display.stage("training", interval_seconds=0.0) as on_progress,
        stopping as received_signals,
    ):
        progress = _TrainingProgress(record, data, display, on_progress)
        try:
            training_result = train(
                record.spec,
                data,
                recipe=record.recipe,
                max_shift=config.data.max_shift,
                horizontal_flip=record.mirrors_images(data),
                seed=config.seed,
                device=resolve_device(device),
                report=progress.report,
                initialization=initialization,
                checkpoints=checkpoints,
                distributed=distributed,
                on_step=progress.on_step,
            )
        except TrainingPaused:
            raise SignalInterrupt(
                received_signals[0] if received_signals else signal.SIGTERM
            ) from None
        except NonRetryableError as error:
            raise NoResultError(f"{error}, with a new --out") from None
    return training_result, checkpoints


def _load_weights(record: FitRecord, network: ConvNet) -> None:
    path = resolve_weights_path(str(record.config.weights))
    if file_sha256(path) != record.weights_sha256:
        raise InputError(
            f"weights: {record.config.weights} changed while it was read; the same call again, "
            "with a new --out"
        )
    load_pretrained(network, path, spec=record.spec)


def _threads(config: FitSection) -> int:
    if config.threads != "auto":
        return config.threads
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class _TrainingProgress:
    """Shows the progress of a training: on a terminal every step, otherwise every epoch."""

    def __init__(
        self, record: FitRecord, data: PreparedData, display: Display, on_progress: ProgressCallback
    ) -> None:
        self._num_epochs, self._batch_size, self._steps_per_epoch = (
            record.recipe.epochs,
            record.batch_size,
            data.train // record.batch_size,
        )
        self._display, self._on_progress = display, on_progress
        self._current_epoch, self._accuracy_text, self._last_reported_epoch = 1, "", 0
        # step and time, of this epoch: evaluation is no part of the pace
        self._first_step = self._last_step = (
            0,
            0.0,
        )
        self._started = False

    def on_step(self, step: int) -> None:
        if not self._started and step > 1:
            self._display.print(
                f"carried on after {step - 1:,} of {self._num_epochs * self._steps_per_epoch:,} "
                f"steps{self._accuracy_text}"
            )
            if not self._display.is_terminal:
                # the time that is left goes by what comes from here on
                self._on_progress(self._current_epoch - 1, self._num_epochs, "")
        self._started = True
        self._last_step = step, time.monotonic()
        self._first_step = self._first_step if self._first_step[0] else self._last_step
        if self._display.is_terminal:
            text = (
                f"epoch {self._current_epoch} of {self._num_epochs}{self._accuracy_text}"
                f"{self._speed_text()}"
            )
            self._on_progress(step, self._num_epochs * self._steps_per_epoch, text)

    def report(self, epoch: int, accuracy: float) -> bool:
        message = f"{accuracy:.1%} of validation images right"
        # epochs of before are told again, and are no news
        if self._started and epoch > self._last_reported_epoch and not self._display.is_terminal:
            self._on_progress(epoch, self._num_epochs, message + self._speed_text())
        self._last_reported_epoch = max(self._last_reported_epoch, epoch)
        self._current_epoch, self._accuracy_text, self._first_step = (
            min(epoch + 1, self._num_epochs),
            f", {message}",
            (0, 0.0),
        )
        return True

    def _speed_text(self) -> str:
        steps, seconds = (
            last - first for first, last in zip(self._first_step, self._last_step, strict=True)
        )
        return f", {self._batch_size * steps / seconds:,.0f} images/s" if steps and seconds else ""
