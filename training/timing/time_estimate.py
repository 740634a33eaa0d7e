"""How long a training takes on this device, from a few timed steps on made-up images."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Recipe
from phinas.space.blocks import build
from phinas.space.spec import ArchSpec
from phinas.training.augmentation.transforms import Augmentation
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine.ema import ModelEma
from phinas.training.engine.evaluate import evaluate
from phinas.training.engine.optimizer import make_optimizer
from phinas.training.engine.train_step import (
    OutOfMemoryError,
    TrainStep,
    TrainStepFn,
    capture,
    split_batches_on_oom,
    supports_cuda_graphs,
)


def estimate_training_seconds(
    spec: ArchSpec,
    recipe: Recipe,
    *,
    train_images: int,
    val_images: int,
    device: torch.device,
    threads: int,
    steps: int = 3,
) -> float:
    """Predicted seconds of a training on so many images, evaluation after each epoch included; data
    reading is not.

    The median of `steps` timed steps after one to warm up, at the full resolution; in parts where
    memory runs out, as in a training. torch's number of threads is left at `threads`. Raises
    InputError where not even the smallest part fits.
    """
    torch.set_num_threads(threads)
    batch = min(recipe.batch_size, train_images)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        micro_batch_size = min(recipe.micro_batch_size or batch, batch)
        try:
            seconds_per_step, seconds_per_image = split_batches_on_oom(
                partial(_time_training, spec, recipe, batch, device=device, steps=steps),
                batch,
                micro_batch_size,
            )
        except OutOfMemoryError:
            problem = f"out of memory with the fewest images of {spec.resolution} pixels at a time"
            raise InputError(f"{problem}; lower the resolution") from None
    return recipe.epochs * (
        seconds_per_step * (train_images // batch) + seconds_per_image * val_images
    )


class _SyntheticTraining:
    """A network, an optimizer and a batch of made-up images."""

    def __init__(
        self,
        spec: ArchSpec,
        recipe: Recipe,
        batch: int,
        micro_batch_size: int,
        *,
        device: torch.device,
    ) -> None:
        self.spec = spec
        self.model = build(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator = np.random.default_rng(0)
        pixels = generator.integers(
            0, 256, (batch, spec.resolution, spec.resolution, spec.channels), dtype=np.uint8
        )
        self.images = ImageBatches(
            pixels, np.arange(batch) % spec.classes, resolution=spec.resolution, device=device
        )
        self.mean = torch.full((1, spec.channels, 1, 1), 0.5, device=device)
        self.samples = torch.arange(batch, device=device)
        self._train_step = TrainStep(
            self.model,
            make_optimizer(self.model, recipe),
            recipe,
            augmentation=Augmentation(
                0.125, True, recipe.min_crop_area, recipe.cutout_size, recipe.randaugment_magnitude
            ),
            seed=0,
            classes=spec.classes,
            mean=self.mean,
            std=self.mean,
            class_weights=None,
            micro_batch_size=micro_batch_size,
            ema=ModelEma(self.model, horizon=2) if recipe.ema_fraction else None,
        )
        self._step_fn: TrainStepFn = self._train_step

    def capture(self) -> None:
        batch = self.images.take(self.samples), self.images.labels, self.samples
        self._step_fn = capture(self._train_step, *batch, restore=lambda: None)

    def step(self) -> None:
        """Take one, and wait for its end."""
        self._step_fn(self.images.take(self.samples), self.images.labels, self.samples)
        self._train_step.loss_sum.item()

    def evaluate(self) -> None:
        evaluate(self.model, self.images, classes=self.spec.classes, mean=self.mean, std=self.mean)


def _time_training(
    spec: ArchSpec,
    recipe: Recipe,
    batch: int,
    micro_batch_size: int,
    *,
    device: torch.device,
    steps: int,
) -> tuple[float, float]:
    """The seconds of a step, and those that an image takes to be evaluated."""
    training = _SyntheticTraining(spec, recipe, batch, micro_batch_size, device=device)
    if supports_cuda_graphs(device) and not recipe.compile:
        training.capture()
    seconds_per_step = statistics.median([_time_call(training.step) for _ in range(steps + 1)][1:])
    return seconds_per_step, [_time_call(training.evaluate) for _ in range(2)][1] / batch


def _time_call(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
