"""The training of one network on images that are augmented batch by batch on its device.

The one decision to know: everything follows from the seed and the place in the training (epoch,
step): initial weights, order and augmentation. So networks trained with one seed see the same
images in the same order, and a training that was killed goes on from its last checkpoint as if
nothing had been, on a CPU to the bit.

Where a batch does not fit the device's memory, it is passed in halves (and halves of those) whose
gradients add up. Batch norm then sees the parts, so this is reported with the result. Several
processes agree on them before they begin. They are found anew
where a training goes on: on a machine with other memory they may be others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from phinas.experiment.executors import ReportCallback
from phinas.experiment.schema.config import Recipe
from phinas.experiment.seeds import derive_seed
from phinas.space.spec import ArchSpec
from phinas.training.augmentation.transforms import Augmentation
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.checkpoint import CheckpointManager
from phinas.training.engine.distributed import SINGLE_PROCESS, DistributedContext
from phinas.training.engine.evaluate import Score
from phinas.training.engine.initialization import FROM_SCRATCH, Initialization
from phinas.training.engine.train_step import OutOfMemoryError, split_batches_on_oom
from phinas.training.engine.trainer import Trainer


@dataclass(frozen=True)
class TrainingResult:
    """A network, its validation score after each epoch, and how long its steps took (evaluation not
    counted).

    micro_batch_size: images that were passed at a time; micro_batch_reduced: fewer than requested,
    for want of memory; ended: "" or why it ended before the last epoch ("stopped", "deadline");
    peak_memory_bytes: the most memory that was allocated on a GPU, 0 elsewhere."""

    model: nn.Module
    curve: tuple[Score, ...]
    train_seconds: float
    images_per_second: float
    mean: Tensor
    std: Tensor
    micro_batch_size: int
    micro_batch_reduced: bool = False
    stop_reason: str = ""
    peak_memory_bytes: int = 0


def train(
    spec: ArchSpec,
    data: PreparedData,
    *,
    recipe: Recipe,
    max_shift: float,
    horizontal_flip: bool,
    seed: int,
    device: torch.device,
    report: ReportCallback = lambda _step, _value: True,
    initialization: Initialization = FROM_SCRATCH,
    checkpoints: CheckpointManager | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
    on_step: Callable[[int], None] = lambda _step: None,
) -> TrainingResult:
    """Train `spec` on the training split and score it on the proxy-validation split after each
    epoch.

    `report(epoch, accuracy)` may end it after that epoch; the learning rate falls as for the whole
    training all the same. `on_step(steps)` is called after each step. torch's global generator is
    left as it was found. Raises DivergenceError, OutOfMemoryError, and TrainingPaused where
    `checkpoints.stop_requested`.
    """
    augmentation = Augmentation(
        max_shift,
        horizontal_flip,
        recipe.min_crop_area,
        recipe.cutout_size,
        recipe.randaugment_magnitude,
    )
    batch = distributed.global_batch_size(min(recipe.batch_size, data.train))
    recipe = recipe.model_copy(update={"batch_size": batch})  # the learning rate goes by it
    local_batch = batch // distributed.world_size
    requested_size = min(recipe.micro_batch_size or local_batch, local_batch)

    def train_once(micro_batch_size: int) -> TrainingResult:
        torch.manual_seed(derive_seed(seed, "weights"))
        trainer = Trainer(
            spec,
            data,
            recipe,
            augmentation,
            seed,
            device,
            initialization,
            checkpoints,
            distributed,
            micro_batch_size,
            on_step,
        )
        trainer.run(report)
        return _make_result(trainer, micro_batch_reduced=micro_batch_size < requested_size)

    def try_size(
        micro_batch_size: int,
    ) -> int:  # weights, images and average as in the training, and nobody else to wait for
        local_recipe = recipe.model_copy(update={"batch_size": local_batch})
        Trainer(
            spec,
            data,
            local_recipe,
            augmentation,
            seed,
            device,
            initialization,
            None,
            SINGLE_PROCESS,
            micro_batch_size,
        ).dry_run(distributed=distributed)
        return micro_batch_size

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
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
    """How many images at a time every process can pass. All must do alike, so none can halve on its
    way: each tries before.
    """
    if local_batch == 1:
        return requested_size
    distributed.any_rank(False, device=device)  # GPUs are joined while they have memory for that
    try:
        fitting_size = split_batches_on_oom(try_size, local_batch, requested_size)
    except OutOfMemoryError:
        fitting_size = 0
    agreed_size = distributed.all_reduce_min(fitting_size, device=device)
    if not agreed_size:
        raise OutOfMemoryError(
            "out of memory with the fewest images at a time; lower the resolution"
        )
    return agreed_size


def _make_result(trainer: Trainer, *, micro_batch_reduced: bool) -> TrainingResult:
    peak = torch.cuda.max_memory_allocated(trainer.device) if trainer.device.type == "cuda" else 0
    return TrainingResult(
        trainer.eval_model,
        tuple(trainer.curve),
        trainer.train_seconds,
        trainer.images_trained / trainer.train_seconds,
        trainer.mean,
        trainer.std,
        trainer.micro_batch_size,
        micro_batch_reduced,
        trainer.stop_reason,
        peak,
    )
