"""The training of one network on images that are augmented batch by batch on its device.

The one decision to know: everything follows from the seed and the place in the training (epoch, step): initial weights, order
and augmentation. So networks trained with one seed see the same images in the same order, and a training that was killed goes
on from its last snapshot as if nothing had been, on a CPU to the bit.

Where a batch does not fit the device's memory, it is passed in halves (and halves of those) whose gradients add up. Batch norm
then sees the parts, so this is told with the result. Several processes agree on them before they begin. They are found anew
where a training goes on: on a machine with other memory they may be others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiment.config import Recipe
from experiment.executors import Conclusive, Report
from experiment.seeds import seed_of
from space.spec import ArchSpec
from training.augment import Augmentation
from training.course import Course
from training.device import first_cause, is_out_of_memory
from training.evaluate import Score
from training.prepared import PreparedData
from training.ranks import ALONE, Ranks
from training.snapshot import Snapshots
from training.start import FRESH, Start
from training.step import fewer_at_a_time, in_parts


class OutOfMemory(Conclusive):
    """Not even the fewest images at a time fit the device."""


@dataclass(frozen=True)
class Trained:
    """A network, its validation score after each epoch, and how long its steps took (evaluation not counted).

    micro_batch: images that were passed at a time; halved: fewer than asked for, for want of memory; ended: "" or why it ended
    before the last epoch ("stopped", "deadline"); peak_bytes: the most memory that was allocated on a GPU, 0 elsewhere."""

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
    """Train `spec` on the training split and score it on the proxy-validation split after each epoch.

    `report(epoch, accuracy)` may end it after that epoch; the learning rate falls as for the whole training all the same.
    `tick(steps)` is called after each step. torch's global generator is left as it was found. Raises Diverged, OutOfMemory, and
    Paused where `snapshots.stop`.
    """
    augmentation = Augmentation(shift, flip, recipe.crop, recipe.cutout, recipe.colour)
    batch = ranks.batch(min(recipe.batch, data.train))
    recipe = recipe.model_copy(update={"batch": batch})  # the learning rate goes by it
    own = batch // ranks.count
    micro_batch = asked = min(recipe.micro_batch or own, own)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if ranks.count > 1 and own > 1:  # all must do alike, so none can halve on its way: each tries a step by itself
            ranks.any(False, device=device)  # GPUs are joined while they have memory for that
            alone = recipe.model_copy(update={"batch": own})

            def tried(size: int) -> int:  # weights, images and average as in the training, and nobody else to wait for
                Course(spec, data, alone, augmentation, seed, device, start, None, ALONE, size).rehearse(like=ranks)
                return size

            micro_batch = ranks.least(in_parts(tried, own, asked) or 0, device=device)
            if not micro_batch:
                raise OutOfMemory("out of memory with the fewest images at a time; lower the resolution")
        while True:
            torch.manual_seed(seed_of(seed, "weights"))
            try:
                course = Course(spec, data, recipe, augmentation, seed, device, start, snapshots, ranks, micro_batch, tick)
                course.run(report)
                return _trained(course, halved=micro_batch < asked)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                message = str(first_cause(error)).partition("\n")[0] or type(error).__name__
                course = None  # with all that it holds
            fewer = fewer_at_a_time(own, micro_batch)
            if fewer is None or ranks.count > 1:
                remedy = "lower recipe.micro_batch" if ranks.count > 1 else "lower the resolution"
                raise OutOfMemory(f"out of memory with {micro_batch} images at a time ({message}); {remedy}")
            micro_batch = fewer
            if device.type == "cuda":
                torch.cuda.empty_cache()


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
