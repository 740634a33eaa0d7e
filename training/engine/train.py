"""Train one network on prepared images.

The main decision: initial weights, order and augmentation of the images are functions of
seed, epoch and step. So all networks that are trained with one seed see the same images in the same
order. A training that was killed resumes from its last checkpoint with the same result, bit-exactly
on a CPU.

If a batch does not fit the memory of the device, the micro-batch size is halved until it does, and
gradients are accumulated. Batch-norm statistics are then those of the micro-batches, so the result
records the reduced size. Several processes agree on a size before the first step. A resumed
training determines the size again, so it may differ on a machine with another amount of memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from phinas.experiment.executors import ReportCallback
from phinas.experiment.seeds import derive_seed
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.checkpoint import CheckpointManager, PauseFiles
from phinas.training.engine.device import (
    resolve_device,
    set_determinism,
    use_device,
    workers_sharing_gpu,
)
from phinas.training.engine.distributed import SINGLE_PROCESS, DistributedContext
from phinas.training.engine.evaluate import Evaluation
from phinas.training.engine.host_memory import keep_freed_memory
from phinas.training.engine.initialization import FROM_SCRATCH, Initialization
from phinas.training.engine.train_step import OutOfMemoryError, split_batches_on_oom
from phinas.training.engine.trainer import Trainer
from phinas.training.engine.training_setup import TrainingSetup
from phinas.training.request import TrainingRequest


@dataclass(frozen=True)
class TrainingResult:
    """A trained network and its curve.

    Args:
        model: the network, or the average of its weights if the recipe has `ema_fraction`.
        curve: evaluation on the validation images after each epoch.
        train_seconds: time of the train steps; evaluation is not included.
        images_per_second: training images per second of `train_seconds`.
        mean, std: (1, channels, 1, 1), for normalizing images.
        micro_batch_size: images in one forward pass.
        micro_batch_reduced: whether it is smaller than requested, because memory ran out.
        stop_reason: why the training ended before its last epoch: "stopped" (by `report`),
            "deadline" (`recipe.max_minutes`) or "paused" (at `stop_epoch`); else "".
        peak_memory_bytes: peak of allocated memory on a GPU; 0 on other devices.
        cuda_graph: whether train steps were captured (`TrainingSetup.cuda_graph`).
    """

    model: nn.Module
    curve: tuple[Evaluation, ...]
    train_seconds: float
    images_per_second: float
    mean: Tensor
    std: Tensor
    micro_batch_size: int
    micro_batch_reduced: bool = False
    stop_reason: str = ""
    peak_memory_bytes: int = 0
    cuda_graph: str = ""


def train(
    request: TrainingRequest,
    data: PreparedData,
    *,
    report: ReportCallback = lambda _step, _value: True,
    initialization: Initialization = FROM_SCRATCH,
    checkpoints: CheckpointManager | None = None,
    pause_files: PauseFiles | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
    on_step: Callable[[int], None] = lambda _step: None,
) -> TrainingResult:
    """Train a network on the training split and evaluate it on the validation split after each
    epoch.

    The state of torch's global generator is not changed.

    Args:
        request: network, recipe, seed and settings. With a `stop_epoch` the training pauses after
            that epoch and writes its state to `pause_files`. A later request with a larger
            `stop_epoch`, or with None, continues from it, bit-exactly on a CPU.
        data: the prepared images.
        report: called with (epoch, score) after each epoch; False stops the training. The learning
            rate always follows the schedule of all epochs.
        initialization: initial weights and frozen parts.
        checkpoints: writes the checkpoints and reads the one to resume from; None: neither.
        pause_files: the state to resume from, and where the state is written at the pause.
        distributed: rank and world size of this process.
        on_step: called after each step with the number of completed steps.

    Raises:
        CaptureError: a capture failed, and `TrainingSettings.capture` is "required".
        DivergenceError: the loss is not finite.
        OutOfMemoryError: the smallest micro-batch does not fit the memory.
        TrainingInterrupted: `checkpoints.stop_requested` was set; a checkpoint is written.
        InputError: the device does not exist.
    """
    settings = request.settings
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    use_device(device, sharers=workers_sharing_gpu(settings.device))
    recipe = request.recipe
    batch = distributed.global_batch_size(recipe.batch_size_for(data.train))
    set_determinism(
        deterministic=settings.deterministic, steps=recipe.epochs * (data.train // batch)
    )
    local_batch = batch // distributed.world_size
    requested_size = min(recipe.micro_batch_size or local_batch, local_batch)

    reported_epochs = 0

    def report_once(epoch: int, score: float) -> bool:
        """Report an epoch, unless an attempt with larger micro-batches has reported it."""
        nonlocal reported_epochs
        if epoch <= reported_epochs:
            return True
        reported_epochs = epoch
        return report(epoch, score)

    def train_once(micro_batch_size: int) -> TrainingResult:
        torch.manual_seed(derive_seed(request.seed, "weights"))
        setup = TrainingSetup(
            request.with_batch_size(batch),
            data,
            micro_batch_size=micro_batch_size,
            initialization=initialization,
            distributed=distributed,
        )
        trainer = Trainer(setup, checkpoints, pause_files=pause_files, on_step=on_step)
        trainer.run(report_once)
        return _make_result(trainer, micro_batch_reduced=micro_batch_size < requested_size)

    def try_size(micro_batch_size: int) -> int:
        """Run one step of the size of the training, without waiting for other processes."""
        TrainingSetup(
            request.with_batch_size(local_batch),
            data,
            micro_batch_size=micro_batch_size,
            initialization=initialization,
        ).dry_run(num_processes=distributed.world_size)
        return micro_batch_size

    generators = [device] if device.type == "cuda" else []
    with keep_freed_memory(), torch.random.fork_rng(devices=generators):
        if distributed.world_size == 1:
            return split_batches_on_oom(train_once, local_batch, requested_size)
        agreed_size = _agree_on_size(
            try_size, local_batch, requested_size, distributed=distributed, device=device
        )
        return split_batches_on_oom(train_once, local_batch, agreed_size, halve=False)


def _agree_on_size(
    try_size: Callable[[int], int],
    local_batch: int,
    requested_size: int,
    *,
    distributed: DistributedContext,
    device: torch.device,
) -> int:
    """Return the largest micro-batch size that fits the memory of every process.

    All processes must use the same size and none may halve it during the training, so each tries
    it before.

    Raises:
        OutOfMemoryError: the smallest micro-batch does not fit the memory of a process.
    """
    if local_batch == 1:
        return requested_size
    distributed.any_rank(False, device=device)  # connects GPUs before their memory is full
    try:
        fitting_size = split_batches_on_oom(try_size, local_batch, requested_size)
    except OutOfMemoryError:
        fitting_size = 0
    agreed_size = distributed.all_reduce_min(fitting_size, device=device)
    if not agreed_size:
        raise OutOfMemoryError("out of memory with the smallest micro-batch; lower the resolution")
    return agreed_size


def _make_result(trainer: Trainer, *, micro_batch_reduced: bool) -> TrainingResult:
    setup, progress = trainer.setup, trainer.progress
    is_gpu = setup.device.type == "cuda"
    return TrainingResult(
        setup.eval_model,
        trainer.curve,
        progress.train_seconds,
        progress.images_trained / progress.train_seconds,
        setup.mean,
        setup.std,
        setup.micro_batch_size,
        micro_batch_reduced,
        trainer.stop_reason,
        torch.cuda.max_memory_allocated(setup.device) if is_gpu else 0,
        setup.cuda_graph,
    )
