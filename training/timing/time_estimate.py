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
from phinas.training.data.dataloader import Batches
from phinas.training.engine.ema import Average
from phinas.training.engine.evaluate import evaluate
from phinas.training.engine.optimizer import make_optimizer
from phinas.training.engine.train_step import (
    OutOfMemory,
    Step,
    TakeStep,
    can_capture,
    capture,
    in_parts,
)


def training_seconds(
    spec: ArchSpec,
    recipe: Recipe,
    *,
    train: int,
    validation: int,
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
    batch = min(recipe.batch, train)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        size = min(recipe.micro_batch or batch, batch)
        try:
            a_step, an_image = in_parts(
                partial(_timed, spec, recipe, batch, device=device, steps=steps), batch, size
            )
        except OutOfMemory:
            told = f"out of memory with the fewest images of {spec.resolution} pixels at a time"
            raise InputError(f"{told}; lower the resolution") from None
    return recipe.epochs * (a_step * (train // batch) + an_image * validation)


class _MadeUp:
    """A network, an optimizer and a batch of made-up images."""

    def __init__(
        self, spec: ArchSpec, recipe: Recipe, batch: int, micro_batch: int, *, device: torch.device
    ) -> None:
        self.spec = spec
        self.model = build(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator = np.random.default_rng(0)
        pixels = generator.integers(
            0, 256, (batch, spec.resolution, spec.resolution, spec.channels), dtype=np.uint8
        )
        self.images = Batches(
            pixels, np.arange(batch) % spec.classes, side=spec.resolution, device=device
        )
        self.mean = torch.full((1, spec.channels, 1, 1), 0.5, device=device)
        self.samples = torch.arange(batch, device=device)
        self._step = Step(
            self.model,
            make_optimizer(self.model, recipe),
            recipe,
            augmentation=Augmentation(0.125, True, recipe.crop, recipe.cutout, recipe.colour),
            seed=0,
            classes=spec.classes,
            mean=self.mean,
            std=self.mean,
            class_weights=None,
            micro_batch=micro_batch,
            average=Average(self.model, horizon=2) if recipe.ema else None,
        )
        self._take_step: TakeStep = self._step

    def capture(self) -> None:
        batch = self.images.take(self.samples), self.images.labels, self.samples
        self._take_step = capture(self._step, *batch, restore=lambda: None)

    def step(self) -> None:
        """Take one, and wait for its end."""
        self._take_step(self.images.take(self.samples), self.images.labels, self.samples)
        self._step.total.item()

    def evaluate(self) -> None:
        evaluate(self.model, self.images, classes=self.spec.classes, mean=self.mean, std=self.mean)


def _timed(
    spec: ArchSpec,
    recipe: Recipe,
    batch: int,
    micro_batch: int,
    *,
    device: torch.device,
    steps: int,
) -> tuple[float, float]:
    """The seconds of a step, and those that an image takes to be evaluated."""
    made_up = _MadeUp(spec, recipe, batch, micro_batch, device=device)
    if can_capture(device) and not recipe.compile:
        made_up.capture()
    a_step = statistics.median([_seconds(made_up.step) for _ in range(steps + 1)][1:])
    return a_step, [_seconds(made_up.evaluate) for _ in range(2)][1] / batch


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
