"""The training of one network on images that are augmented batch by batch on its device.

The one decision to know: everything follows from the seed and the place in the training (epoch,
step): initial weights, order and augmentation. So networks trained with one seed see the same
images in the same order, and a training that was killed goes on from its last snapshot as if
nothing had been, on a CPU to the bit.

Where a batch does not fit the device's memory, it is passed in halves (and halves of those) whose
gradients add up. Batch norm then sees the parts, so this is told with the result. Several processes
agree on them before they begin. They are found anew
where a training goes on: on a machine with other memory they may be others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from phinas.experiment.executors import Report
from phinas.experiment.schema.config import Recipe
from phinas.experiment.seeds import seed_of
from phinas.space.spec import ArchSpec
from phinas.training.augmentation.transforms import Augmentation
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.checkpoint import Snapshots
from phinas.training.engine.distributed import ALONE, Ranks
from phinas.training.engine.evaluate import Score
from phinas.training.engine.initialization import FRESH, Start
from phinas.training.engine.train_step import OutOfMemory, in_parts
from phinas.training.engine.trainer import Course


@dataclass(frozen=True)
class Trained:
    """A network, its validation score after each epoch, and how long its steps took (evaluation not
    counted).

    micro_batch: images that were passed at a time; halved: fewer than asked for, for want of
    memory; ended: "" or why it ended before the last epoch ("stopped", "deadline"); peak_bytes: the
    most memory that was allocated on a GPU, 0 elsewhere."""

    model: nn.Module
    curve: tuple[Score, ...]
    train_seconds: float
    images_per_second: float
    mean: Tensor
    std: Tensor
    micro_batch: int
    halved: bool = False
    ended: str = ""
    peak_bytes: int = 0


def train(
    spec: ArchSpec,
    data: PreparedData,
    *,
    recipe: Recipe,
    shift: float,
    flip: bool,
    seed: int,
    device: torch.device,
    report: Report = lambda _step, _value: True,
    start: Start = FRESH,
    snapshots: Snapshots | None = None,
    ranks: Ranks = ALONE,
    tick: Callable[[int], None] = lambda _step: None,
) -> Trained:
    """Train `spec` on the training split and score it on the proxy-validation split after each
    epoch.

    `report(epoch, accuracy)` may end it after that epoch; the learning rate falls as for the whole
    training all the same. `tick(steps)` is called after each step. torch's global generator is left
    as it was found. Raises Diverged, OutOfMemory, and Paused where `snapshots.stop`.
    """
    augmentation = Augmentation(shift, flip, recipe.crop, recipe.cutout, recipe.colour)
    batch = ranks.batch(min(recipe.batch, data.train))
    recipe = recipe.model_copy(update={"batch": batch})  # the learning rate goes by it
    own = batch // ranks.count
    asked = min(recipe.micro_batch or own, own)

    def attempt(micro_batch: int) -> Trained:
        torch.manual_seed(seed_of(seed, "weights"))
        course = Course(
            spec,
            data,
            recipe,
            augmentation,
            seed,
            device,
            start,
            snapshots,
            ranks,
            micro_batch,
            tick,
        )
        course.run(report)
        return _trained(course, halved=micro_batch < asked)

    def rehearsed(
        micro_batch: int,
    ) -> int:  # weights, images and average as in the training, and nobody else to wait for
        alone = recipe.model_copy(update={"batch": own})
        Course(
            spec, data, alone, augmentation, seed, device, start, None, ALONE, micro_batch
        ).rehearse(like=ranks)
        return micro_batch

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if ranks.count == 1:
            return in_parts(attempt, own, asked)
        agreed = _agreed(rehearsed, own, asked, ranks=ranks, device=device)
        return in_parts(attempt, own, agreed, halve=False)


def _agreed(
    rehearsed: Callable[[int], int], own: int, asked: int, *, ranks: Ranks, device: torch.device
) -> int:
    """How many images at a time every process can pass. All must do alike, so none can halve on its
    way: each tries before.
    """
    if own == 1:
        return asked
    ranks.any(False, device=device)  # GPUs are joined while they have memory for that
    try:
        fitting = in_parts(rehearsed, own, asked)
    except OutOfMemory:
        fitting = 0
    agreed = ranks.least(fitting, device=device)
    if not agreed:
        raise OutOfMemory("out of memory with the fewest images at a time; lower the resolution")
    return agreed


def _trained(course: Course, *, halved: bool) -> Trained:
    peak = torch.cuda.max_memory_allocated(course.device) if course.device.type == "cuda" else 0
    return Trained(
        course.measured,
        tuple(course.curve),
        course.seconds,
        course.images / course.seconds,
        course.mean,
        course.std,
        course.micro_batch,
        halved,
        course.ended,
        peak,
    )
