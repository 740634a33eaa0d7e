"""How long a training takes on this device, from a few timed steps on made-up images."""

import statistics
import time

import numpy as np
import torch

from experiment.config import Recipe
from space.blocks import build
from space.spec import ArchSpec
from training.augment import Augmentation
from training.batches import Batches
from training.evaluate import evaluate
from training.optimizer import make_optimizer
from training.step import Step


def training_seconds(
    spec: ArchSpec, recipe: Recipe, *, train: int, validation: int, device: torch.device, threads: int, steps: int = 3
) -> float:
    """Predicted seconds of a training on so many images, evaluation after each epoch included; data reading is not.

    The median of `steps` timed steps after one to warm up, at the full resolution. torch's number of threads is left at
    `threads`.
    """
    torch.set_num_threads(threads)
    batch = min(recipe.batch, train)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
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
            micro_batch=recipe.micro_batch or batch,
        )
        samples = torch.arange(batch, device=device)
        times = []
        for _ in range(steps + 1):
            began = time.perf_counter()
            step(images.take(samples), images.labels, samples)
            step.total.item()  # waits for the device
            times.append(time.perf_counter() - began)
        evaluate(model, images, mean=mean, std=mean)
        began = time.perf_counter()
        evaluate(model, images, mean=mean, std=mean)
        held = (time.perf_counter() - began) * validation / batch
    return recipe.epochs * (statistics.median(times[1:]) * (train // batch) + held)
