"""The training of one network: the whole data set as one tensor on the device, augmented batch by batch.

The training images are resized to the network's resolution once, not once an epoch. Every draw comes from the seed: initial
weights, data order and augmentation, so networks trained with one seed see the same images in the same order.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from experiment.config import Recipe
from experiment.executors import Conclusive, Report
from experiment.seeds import seed_of
from space.blocks import build
from space.spec import ArchSpec
from training.augment import Augmentation as Augmentation
from training.augment import augment, normalise
from training.evaluate import Score, evaluate, to_device
from training.optimizer import make_optimizer, make_schedule
from training.prepared import PreparedData


class Diverged(Conclusive):
    """The loss was not finite; the message says in which epoch."""


@dataclass(frozen=True)
class Trained:
    """A network, its validation score after each epoch, and how long it took (reading data not counted)."""

    model: nn.Module
    curve: tuple[Score, ...]
    train_seconds: float
    images_per_second: float
    mean: Tensor
    std: Tensor


def train(
    spec: ArchSpec,
    data: PreparedData,
    *,
    recipe: Recipe,
    augmentation: Augmentation,
    seed: int,
    device: torch.device,
    report: Report = lambda _step, _value: True,
) -> Trained:
    """Train `spec` on the training split and score it on the proxy-validation split after each epoch.

    `report(epoch, accuracy)` may end it after that epoch; the learning rate falls as for the whole training all the same.
    torch's global generator is left as it was found. Raises Diverged for a loss that is not finite.
    """
    train_images, train_labels, held_images, held_labels = data.steer_arrays()
    images = to_device(train_images, side=spec.resolution, device=device)
    labels = torch.from_numpy(train_labels.copy()).to(device)
    held = to_device(held_images, side=spec.resolution, device=device)
    held_truth = torch.from_numpy(held_labels.copy()).to(device)
    mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(data.std, device=device).view(1, -1, 1, 1)
    order = torch.Generator().manual_seed(seed_of(seed, "order"))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_of(seed, "weights"))
        model = build(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        batch = min(recipe.batch, len(images))
        recipe = recipe.model_copy(update={"batch": batch})  # the learning rate goes by it
        optimizer = make_optimizer(model, recipe)
        steps = len(images) // batch  # the remainder is left out: a batch of one has no batch statistics
        schedule = make_schedule(optimizer, recipe, steps=steps * recipe.epochs)
        curve = []
        seconds = 0.0
        for epoch in range(1, recipe.epochs + 1):
            began = time.perf_counter()
            model.train()
            total = torch.zeros((), device=device)
            for chosen in torch.randperm(len(images), generator=order)[: steps * batch].to(device).view(steps, batch):
                seen = augment(images[chosen], chosen, augmentation=augmentation, seed=seed, epoch=epoch)
                total += update(model, seen, labels[chosen], recipe, optimizer, mean=mean, std=std)
                schedule.step()
            loss = total.item()  # waits for the device, so the clock is right
            seconds += time.perf_counter() - began
            if not math.isfinite(loss):
                raise Diverged(f"the loss was {loss} in epoch {epoch} of {recipe.epochs}; lower the learning rate")
            curve.append(evaluate(model, held, held_truth, mean=mean, std=std))
            if not report(epoch, curve[-1].accuracy):
                break
    speed = steps * batch * len(curve) / seconds
    return Trained(model, tuple(curve), seconds, speed, mean, std)


def update(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    *,
    mean: Tensor,
    std: Tensor,
) -> Tensor:
    """One step of the optimizer on uint8 images; returns the loss without waiting for it."""
    batch = normalise(images, mean, std)
    with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=batch.device.type == "cuda"):
        logits = model(batch)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()
