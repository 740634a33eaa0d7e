"""How long a training takes on this device, from a few timed steps on made-up images."""

import statistics
import time

import torch

from experiment.config import Recipe
from space.blocks import build
from space.spec import ArchSpec
from training.evaluate import evaluate
from training.loop import update
from training.optimizer import make_optimizer


def training_seconds(
    spec: ArchSpec, recipe: Recipe, *, train: int, validation: int, device: torch.device, threads: int, steps: int = 3
) -> float:
    """Predicted seconds of a training on so many images, evaluation after each epoch included; data reading is not.

    The median of `steps` timed steps after one to warm up. torch's number of threads is left at `threads`.
    """
    torch.set_num_threads(threads)
    batch = min(recipe.batch, train)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = build(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(model, recipe)
        images = torch.randint(0, 256, (batch, spec.channels, spec.resolution, spec.resolution), dtype=torch.uint8)
        images, labels = images.to(device), torch.randint(0, spec.classes, (batch,)).to(device)
        mean = torch.full((1, spec.channels, 1, 1), 0.5, device=device)
        times = []
        for _ in range(steps + 1):
            began = time.perf_counter()
            update(model, images, labels, recipe, optimizer, mean=mean, std=mean).item()
            times.append(time.perf_counter() - began)
        evaluate(model, images, labels, mean=mean, std=mean)
        began = time.perf_counter()
        evaluate(model, images, labels, mean=mean, std=mean)
        held = (time.perf_counter() - began) * validation / batch
    return recipe.epochs * (statistics.median(times[1:]) * (train // batch) + held)
