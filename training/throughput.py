"""How long a training takes on this device, from a few timed steps on made-up images."""

import statistics
import time

import numpy as np
import torch

from experiment.config import Recipe
from experiment.errors import InputError
from space.blocks import build
from space.spec import ArchSpec
from training.augment import Augmentation
from training.batches import Batches
from training.device import is_out_of_memory
from training.evaluate import evaluate
from training.optimizer import make_optimizer
from training.step import CapturedStep, Step, TakeStep, can_capture, fewer_at_a_time


def training_seconds(
    spec: ArchSpec, recipe: Recipe, *, train: int, validation: int, device: torch.device, threads: int, steps: int = 3
) -> float:
    """Predicted seconds of a training on so many images, evaluation after each epoch included; data reading is not.

    The median of `steps` timed steps after one to warm up, at the full resolution; in parts where memory runs out, as in a
    training. torch's number of threads is left at `threads`. Raises InputError where not even the smallest part fits.
    """
    torch.set_num_threads(threads)
    batch = min(recipe.batch, train)
    micro_batch = recipe.micro_batch or batch
    while True:
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                a_step, an_image = _timed(spec, recipe, batch, micro_batch, device=device, steps=steps)
            return recipe.epochs * (a_step * (train // batch) + an_image * validation)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        fewer = fewer_at_a_time(batch, micro_batch)
        if fewer is None:
            raise InputError(f"out of memory with {micro_batch} images of {spec.resolution} pixels; lower the resolution")
        micro_batch = fewer


def _timed(
    spec: ArchSpec, recipe: Recipe, batch: int, micro_batch: int, *, device: torch.device, steps: int
) -> tuple[float, float]:
    """The seconds of a step, and those that an image takes to be evaluated."""
    model = build(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (batch, spec.resolution, spec.resolution, spec.channels), dtype=np.uint8)
    images = Batches(pixels, np.arange(batch) % spec.classes, side=spec.resolution, device=device)
    mean = torch.full((1, spec.channels, 1, 1), 0.5, device=device)
    step = Step(
        model,
        make_optimizer(model, recipe),
        recipe,
        augmentation=Augmentation(0.125, True, recipe.crop, recipe.cutout, recipe.colour),
        seed=0,
        classes=spec.classes,
        mean=mean,
        std=mean,
        class_weights=None,
        micro_batch=micro_batch,
    )
    samples = torch.arange(batch, device=device)
    take_step: TakeStep = step
    if can_capture(device) and not recipe.compile:
        take_step = CapturedStep(step, images.take(samples), images.labels, samples, restore=lambda: None)
    times = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        take_step(images.take(samples), images.labels, samples)
        step.total.item()  # waits for the device
        times.append(time.perf_counter() - began)
    evaluate(model, images, classes=spec.classes, mean=mean, std=mean)
    began = time.perf_counter()
    evaluate(model, images, classes=spec.classes, mean=mean, std=mean)
    return statistics.median(times[1:]), (time.perf_counter() - began) / batch
