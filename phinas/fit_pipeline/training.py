"""The training of a fit: checkpoints, signals and progress."""

import os
import signal
import time
from functools import partial

import torch
from torch import nn

from phinas.experiment.artifacts.fit import FitRecord
from phinas.experiment.cpu_threads import max_cpu_threads
from phinas.experiment.errors import InputError, NoResultError, SignalInterrupt
from phinas.experiment.executors import NonRetryableError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.job_list import job_key
from phinas.experiment.manifest import file_sha256
from phinas.experiment.schema.fit import FitSection
from phinas.fit_pipeline.fit_record import fixed_settings
from phinas.terminal.progress import Display, ProgressCallback
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.checkpoint import CheckpointManager, stop_on_signals
from phinas.training.engine.device import resolve_device
from phinas.training.engine.distributed import DistributedContext
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.train import TrainingResult, train
from phinas.training.engine.trainer import TrainingInterrupted
from phinas.training.request import TrainingRequest, TrainingSettings
from phinas.training.timing.thread_tuning import ThreadTuner
from phinas.training.weights.hub_weights import resolve_weights_path
from phinas.training.weights.pretrained import read_pretrained


def train_network(
    fit_dir: FitDir,
    record: FitRecord,
    data: PreparedData,
    distributed: DistributedContext,
    *,
    device: str,
    display: Display,
) -> tuple[TrainingResult, CheckpointManager]:
    """Train the network of a fit, from the last checkpoint if there is one.

    Returns:
        The training's result, and its checkpoints, to be removed once the results are written.

    Raises:
        NoResultError: The training failed, such as by a loss that is not finite.
        SignalInterrupt: A signal ended it; a checkpoint is written.
    """
    config = record.config
    identity = {
        "batch_size": record.batch_size,
        "spec": record.spec.to_dict(),
        "weights": record.weights_sha256,
        "data": data.fingerprint,
    }
    checkpoints = CheckpointManager(
        fit_dir.checkpoint,
        job_key("fit", fixed_settings(config) | identity),
        seconds=60 * config.checkpoint_minutes,
    )
    thread_tuner = _make_thread_tuner(config, device)
    settings = TrainingSettings(
        max_shift=config.data.max_shift,
        horizontal_flip=record.flips_images(allow_flip=data.allow_flip),
        device=device,
        threads=None if thread_tuner else _threads(config),
        deterministic=config.deterministic,
    )
    request = TrainingRequest(record.spec, record.recipe, config.seed, settings)
    initialization = Initialization(
        partial(_load_weights, record) if config.weights else lambda _network: None,
        config.freeze_backbone,
    )
    stopping = stop_on_signals(
        checkpoints, signal.SIGINT, signal.SIGTERM, on_repeat=lambda number: os._exit(128 + number)
    )
    with (
        display.stage("training", unit="epochs", interval_seconds=0.0) as on_progress,
        stopping as received_signals,
    ):
        progress = _TrainingProgress(record, data, display, on_progress, thread_tuner)
        try:
            training_result = train(
                request,
                data,
                report=progress.report,
                initialization=initialization,
                checkpoints=checkpoints,
                distributed=distributed,
                on_step=progress.on_step,
            )
        except TrainingInterrupted:
            raise SignalInterrupt(
                received_signals[0] if received_signals else signal.SIGTERM
            ) from None
        except NonRetryableError as error:
            raise NoResultError(f"{error}, with a new --out") from None
    return training_result, checkpoints


def _load_weights(record: FitRecord, network: nn.Module) -> None:
    path = resolve_weights_path(str(record.config.weights))
    if file_sha256(path) != record.weights_sha256:
        raise InputError(
            f"weights: {record.config.weights} changed while it was read; call again with a new "
            "--out"
        )
    read_pretrained(str(record.config.weights)).load_into(network, record.spec)


def _threads(config: FitSection) -> int:
    if config.threads != "auto":
        return config.threads
    return max(1, max_cpu_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _make_thread_tuner(config: FitSection, device: str) -> ThreadTuner | None:
    """What selects the number of CPU threads by timing, unless it is given or cannot matter.

    Of several processes each waits for the others, so the time of a step says nothing.
    """
    is_single = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == 1
    if config.threads != "auto" or config.deterministic or not is_single:
        return None
    if resolve_device(device).type != "cpu":
        return None
    return ThreadTuner(max_cpu_threads(), set_threads=torch.set_num_threads)


class _TrainingProgress:
    """Shows the progress of a training: every step on a terminal, otherwise every epoch."""

    def __init__(
        self,
        record: FitRecord,
        data: PreparedData,
        display: Display,
        on_progress: ProgressCallback,
        thread_tuner: ThreadTuner | None = None,
    ) -> None:
        self._thread_tuner = thread_tuner
        self._num_epochs, self._batch_size, self._steps_per_epoch = (
            record.recipe.epochs,
            record.batch_size,
            data.train // record.batch_size,
        )
        self._display, self._on_progress = display, on_progress
        self._current_epoch, self._accuracy_text, self._last_reported_epoch = 1, "", 0
        # step and time within this epoch, so that evaluation does not count as training time
        self._first_step = self._last_step = (0, 0.0)
        self._started = False

    def on_step(self, step: int) -> None:
        if not self._started and step > 1:
            self._display.print(
                f"resumed after {step - 1:,} of {self._num_epochs * self._steps_per_epoch:,} "
                f"steps{self._accuracy_text}"
            )
            if not self._display.is_terminal:
                # the remaining time is estimated from here on
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
        if self._thread_tuner:
            self._thread_tuner.end_step()

    def report(self, epoch: int, accuracy: float) -> bool:
        if self._thread_tuner:
            self._thread_tuner.skip_step()  # the next one begins after the evaluation
        message = f"validation accuracy {accuracy:.1%}"
        # a resumed training reports its earlier epochs again
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
