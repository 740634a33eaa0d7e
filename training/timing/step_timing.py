"""The time of a train step and of an evaluation, from a few steps on synthetic images.

The main decision: the timing of a network has a time limit. Where a whole batch would exceed it, a
part of the batch is timed.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from phinas.experiment.executors import NonRetryableError
from phinas.experiment.schema.config import Recipe
from phinas.space.network import Network, network_from_dict
from phinas.training.engine.device import resolve_device, set_determinism
from phinas.training.engine.train_step import OutOfMemoryError, split_batches_on_oom
from phinas.training.engine.training_setup import TrainingSetup
from phinas.training.request import TrainingRequest, TrainingSettings

# An evaluation takes about a third of a train step, and is timed twice like the step.
_STEPS = 2
_PASSES = _STEPS + 1 + 2 / 3
_FIRST_BATCH = 8
# Batch norm needs two images. Larger networks begin with them, because one step takes seconds.
_SMALLEST_BATCH = 2
_LARGE_FLOPS = 5e8


@dataclass(frozen=True, slots=True)
class StepTiming:
    """The timing of one network with one batch size.

    Attributes:
        batch: Images in a step.
        step_seconds: Seconds of a train step.
        eval_seconds: Seconds of the evaluation of a batch.
        setup_seconds: Seconds until the first step of a training of one batch.
        setup_images: Images that were loaded for it.
    """

    batch: int
    step_seconds: float
    eval_seconds: float
    setup_seconds: float
    setup_images: int


def run_timing_job(
    *,
    network: dict[str, Any],
    recipe: dict[str, Any],
    max_batch: int,
    seconds: float,
    image_size: int,
    device: str,
    threads: int,
    deterministic: bool,
) -> dict[str, Any]:
    """Time a network; the function of the timing jobs.

    Args:
        network: Data of `Network.to_dict`.
        recipe: Batch size, optimizer, augmentation and so on. The network is not compiled.
        max_batch: The number of training images, which limits the batch size.
        seconds: Limit of the duration. The smallest batch is timed in any case.
        image_size: Height and width in px at which the images are stored.
        device: "auto", "cpu", "mps", "cuda" or "cuda:N".
        threads: CPU threads; torch keeps this number afterwards.
        deterministic: Use deterministic algorithms on a GPU.

    Returns:
        `timings` (StepTiming as plain data, of a small batch and of the largest one that the time
        allows) and `seconds` (how long it took).

    Raises:
        NonRetryableError: The smallest micro-batch does not fit the memory.
    """
    torch.set_num_threads(threads)
    settings = TrainingSettings(max_shift=0.125, horizontal_flip=True, device=device)
    request = TrainingRequest(
        network_from_dict(network),
        Recipe(**recipe).model_copy(update={"compile": False}),
        0,
        settings,
    )
    batch = max(_SMALLEST_BATCH, request.recipe.batch_size_for(max_batch))
    set_determinism(deterministic=deterministic, steps=request.recipe.epochs * (max_batch // batch))
    start = time.perf_counter()
    timings = time_steps(request.with_batch_size(batch), seconds=seconds, image_size=image_size)
    return {
        "timings": [asdict(timing) for timing in timings],
        "seconds": time.perf_counter() - start,
    }


def time_steps(request: TrainingRequest, *, seconds: float, image_size: int) -> list[StepTiming]:
    """Time the steps of a network with a small batch, and with the largest one that time allows.

    If memory runs out, the micro-batch size is halved, as in a training.

    Args:
        request: The training. Its batch size is the largest to time.
        seconds: Limit of the duration. The smallest batch is timed in any case.
        image_size: Height and width in px at which the images are stored.

    Returns:
        One or two timings, the smaller batch first.

    Raises:
        NonRetryableError: The smallest micro-batch does not fit the memory.
    """
    batch = request.recipe.known_batch_size
    is_small = request.network.cost().flops < _LARGE_FLOPS
    first = min(_FIRST_BATCH if is_small else _SMALLEST_BATCH, batch)
    start = time.perf_counter()
    timings = [_time_batch(request.with_batch_size(first), image_size)]
    remaining = seconds - (time.perf_counter() - start)
    seconds_per_image = timings[0].step_seconds / first
    while batch > first and _PASSES * batch * seconds_per_image > remaining:
        batch //= 2
    if batch > first:
        timings.append(_time_batch(request.with_batch_size(batch), image_size))
    return timings


def _time_batch(request: TrainingRequest, image_size: int) -> StepTiming:
    device, batch = resolve_device(request.settings.device), request.recipe.known_batch_size
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        micro_batch_size = min(request.recipe.micro_batch_size or batch, batch)
        try:
            return split_batches_on_oom(
                partial(_time_request, request, image_size), batch, micro_batch_size
            )
        except OutOfMemoryError:
            raise NonRetryableError(
                "out of memory with the smallest micro-batch of images of "
                f"{request.network.resolution} px; lower the resolution"
            ) from None


class _SyntheticData:
    """One batch of random images, for training and for validation."""

    def __init__(self, network: Network, batch: int, image_size: int) -> None:
        self.train = batch
        self.counts = (1,) * network.classes
        self.mean = self.std = (0.5,) * network.channels
        shape = (batch, image_size, image_size, network.channels)
        self._pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        self._labels = np.arange(batch) % network.classes

    def train_val_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self._pixels, self._labels, self._pixels, self._labels


def _time_request(request: TrainingRequest, image_size: int, micro_batch_size: int) -> StepTiming:
    batch = request.recipe.known_batch_size
    data = _SyntheticData(request.network, batch, image_size)
    start = time.perf_counter()
    setup = TrainingSetup(request, data, micro_batch_size=micro_batch_size)
    order = setup.begin_epoch(1, resolution=request.network.resolution, strength=1.0)[0]
    setup_seconds = time.perf_counter() - start
    samples = order.to(setup.device)
    indices = samples if setup.train_data.resident else order

    def run_step() -> None:
        setup.run_step(setup.train_data.take(indices), samples, step=0)
        setup.train_step.loss_sum.item()  # waits for the device

    # The first step and the first evaluation choose algorithms, so they are not timed.
    step_seconds = statistics.median([_time_call(run_step) for _ in range(_STEPS + 1)][1:])
    evaluate = partial(setup.evaluate, is_final=False)
    eval_seconds = [_time_call(evaluate) for _ in range(2)][1]
    return StepTiming(batch, step_seconds, eval_seconds, setup_seconds, setup_images=2 * batch)


def _time_call(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
