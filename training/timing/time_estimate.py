"""Estimate of the training time on a device, from a few timed steps on synthetic images."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Recipe
from phinas.space.network import Network
from phinas.training.engine.train_step import OutOfMemoryError, split_batches_on_oom
from phinas.training.engine.training_setup import TrainingSetup
from phinas.training.request import TrainingRequest, TrainingSettings


def estimate_training_seconds(
    network: Network,
    recipe: Recipe,
    *,
    train_images: int,
    val_images: int,
    device: torch.device,
    threads: int,
    steps: int = 3,
) -> float:
    """Estimate how long a training takes, evaluation after each epoch included.

    The time of a step is the median of a few timed steps at full resolution, after a warm-up step.
    If memory runs out, the micro-batch size is halved, as in a training. Reading the data is not
    included.

    Args:
        network: the network.
        recipe: number of epochs, batch size and so on.
        train_images: number of training images.
        val_images: number of validation images.
        device: device of the training.
        threads: CPU threads; torch keeps this number afterwards.
        steps: number of timed steps.

    Returns:
        Seconds.

    Raises:
        InputError: the smallest micro-batch does not fit the memory.
    """
    torch.set_num_threads(threads)
    batch = min(recipe.batch_size, train_images)
    settings = TrainingSettings(max_shift=0.125, horizontal_flip=True, device=str(device))
    request = TrainingRequest(network, recipe, 0, settings).with_batch_size(batch)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        micro_batch_size = min(recipe.micro_batch_size or batch, batch)
        try:
            seconds_per_step, seconds_per_image = split_batches_on_oom(
                partial(_time_training, request, steps), batch, micro_batch_size
            )
        except OutOfMemoryError:
            raise InputError(
                "out of memory with the smallest micro-batch of images of "
                f"{network.resolution} px; lower the resolution"
            ) from None
    return recipe.epochs * (
        seconds_per_step * (train_images // batch) + seconds_per_image * val_images
    )


class _SyntheticData:
    """One batch of random images, for training and for validation."""

    def __init__(self, network: Network, batch: int) -> None:
        self.train = batch
        self.counts = (1,) * network.classes
        self.mean = self.std = (0.5,) * network.channels
        shape = (batch, network.resolution, network.resolution, network.channels)
        self._pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        self._labels = np.arange(batch) % network.classes

    def train_val_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self._pixels, self._labels, self._pixels, self._labels


def _time_training(
    request: TrainingRequest, steps: int, micro_batch_size: int
) -> tuple[float, float]:
    """Return the seconds of a train step, and the seconds for evaluating one image."""
    batch = request.recipe.batch_size
    data = _SyntheticData(request.network, batch)
    setup = TrainingSetup(request, data, micro_batch_size=micro_batch_size)
    order = setup.begin_epoch(1, resolution=request.network.resolution, strength=1.0)[0]
    samples = order.to(setup.device)
    indices = samples if setup.train_data.resident else order

    def run_step() -> None:
        setup.run_step(setup.train_data.take(indices), samples, step=0)
        setup.train_step.loss_sum.item()  # waits for the device

    seconds_per_step = statistics.median([_time_call(run_step) for _ in range(steps + 1)][1:])
    return seconds_per_step, [_time_call(setup.evaluate) for _ in range(2)][1] / batch


def _time_call(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
