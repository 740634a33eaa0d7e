"""Two loops that train one network: the one that people write around torchvision and a DataLoader,
and ours.

The one decision to know: both do the same work (network, parameters, images, batch, steps,
optimizer, schedule, loss, kinds of augmentation), and a call is one epoch, from decoded images in
memory to moved weights. `work` counts it while it is done.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from counters import import_torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from phinas.experiment.schema.config import Recipe
from phinas.space.blocks import build
from phinas.space.presets import preset
from phinas.training.augmentation.transforms import Augmentation
from phinas.training.data.dataloader import Batches
from phinas.training.engine.checkpoint import undoing
from phinas.training.engine.optimizer import make_optimizer, peak_rate, schedule, set_rate
from phinas.training.engine.train_step import CapturedStep, Step, TakeStep

TIMM = {
    "efficientnet_b0": "efficientnet_b0",
    "mobilenet_v2": "mobilenetv2_100",
    "resnet_50": "resnet50",
}
CLASSES, PAD = 10, 4  # pixels that an image is moved by at most


@dataclass(frozen=True)
class Setting:
    """What is trained on what: images of noise, so many in an epoch, already at the network's
    side.
    """

    network: str
    side: int
    batch: int
    images: int

    @property
    def recipe(self) -> Recipe:
        """More epochs than are run, so the rate stays at its peak, which is low: what noise teaches
        is not to diverge.
        """
        return Recipe(batch=self.batch, epochs=1000, warmup=0, learning_rate=0.01)

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        drawn = np.random.default_rng(0)
        shape = (self.images, self.side, self.side, 3)
        return drawn.integers(0, 256, shape, dtype=np.uint8), drawn.integers(
            0, CLASSES, self.images
        )

    def ours(self) -> nn.Module:
        return build(replace(preset(self.network), resolution=self.side, classes=CLASSES))

    def timms(self) -> nn.Module:
        import_torchvision()
        import timm

        spec = preset(self.network)
        return timm.create_model(
            TIMM[self.network],
            num_classes=CLASSES,
            drop_rate=spec.dropout,
            drop_path_rate=spec.drop_path,
        )


class InMemory(Dataset[Any]):
    """Decoded images behind PIL transforms, as torchvision's CIFAR10 has them."""

    def __init__(
        self, pixels: np.ndarray, labels: np.ndarray, transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self._pixels, self._labels, self._transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[index])), int(self._labels[index])


def loader(
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    batch: int,
    workers: int,
    mean: tuple[float, ...] = (0.5, 0.5, 0.5),
    std: tuple[float, ...] = (0.25, 0.25, 0.25),
    padding: str = "constant",
) -> DataLoader[Any]:
    """Random crop of the padded image, flip, to tensor, normalise, in `workers` processes that
    stay.
    """
    import_torchvision()
    from torchvision import transforms

    steps = [
        transforms.RandomCrop(pixels.shape[1], padding=PAD, padding_mode=padding),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    return DataLoader(
        InMemory(pixels, labels, transforms.Compose(steps)),
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork"
        if workers
        else None,  # Linux's own way, also in a process that was spawned
        pin_memory=torch.cuda.is_available(),
    )


class Ready:
    """Batches that cost nothing: on the device, normalised, the same each epoch."""

    def __init__(
        self, pixels: np.ndarray, labels: np.ndarray, *, batch: int, device: torch.device
    ) -> None:
        chosen = len(labels) // batch * batch
        floats = (
            torch.from_numpy(pixels[: min(chosen, 8 * batch)])
            .to(device)
            .permute(0, 3, 1, 2)
            .float()
            .div_(255)
        )
        images = (
            floats.sub_(0.5).div_(0.25).split(batch)
        )  # eight batches that come again: more may not fit
        self._batches = [
            (images[number % len(images)], part)
            for number, part in enumerate(torch.from_numpy(labels[:chosen]).to(device).split(batch))
        ]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._batches)


class Ordinary:
    """The loop that people write: channels last, bfloat16 on a GPU, nothing waited for but the
    epoch's loss.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[tuple[Tensor, Tensor]],
        *,
        recipe: Recipe,
        device: torch.device,
        steps: int,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)
        self._batches, self._device = batches, device
        decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        spared = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": spared, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.SGD(groups, lr=peak_rate(recipe), momentum=0.9, nesterov=True)
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: schedule(recipe, step=step, steps=steps)
        )
        self._criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def __call__(self) -> float:
        """One epoch; the sum of its losses."""
        self.model.train()
        total = torch.zeros((), device=self._device)
        for images, labels in self._batches:
            seen = images.to(self._device, memory_format=torch.channels_last, non_blocking=True)
            wanted = labels.to(self._device, non_blocking=True)
            self._optimizer.zero_grad()
            with torch.autocast(
                self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"
            ):
                loss = self._criterion(self.model(seen), wanted)
            loss.backward()
            self._optimizer.step()
            self._scheduler.step()
            total += loss.detach()
        return total.item()


class Ours:
    """The same by phinas.training.engine.train_step, as phinas.training.engine.trainer has it.
    captured: as a CUDA graph.
    """

    def __init__(
        self,
        model: nn.Module,
        pixels: np.ndarray,
        labels: np.ndarray,
        *,
        recipe: Recipe,
        device: torch.device,
        captured: bool = False,
        step: type[Step] = Step,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)
        self._recipe, self._device, self._captured = recipe, device, captured
        side = pixels.shape[1]
        self._seen = Batches(pixels, labels, side=side, device=device, resident=True)
        self._optimizer = make_optimizer(model, recipe)
        self._steps = len(labels) // recipe.batch
        self.step = step(
            model,
            self._optimizer,
            recipe,
            augmentation=Augmentation(PAD / side, flip=True),
            seed=0,
            classes=CLASSES,
            mean=torch.full((1, 3, 1, 1), 0.5, device=device),
            std=torch.full((1, 3, 1, 1), 0.25, device=device),
            class_weights=None,
            micro_batch=recipe.batch,
        )
        self._take_step: TakeStep | None = None
        self._done = 0

    def __call__(self) -> float:
        """One epoch; the sum of its losses."""
        self.model.train()
        self.step.epoch.add_(1)
        batch = self._recipe.batch
        order = (
            torch.randperm(self._seen.count)[: self._steps * batch]
            .view(self._steps, batch)
            .to(self._device)
        )
        for samples in order:
            self.one(samples)
        total = self.step.total.item()
        self.step.total.zero_()
        return total

    def one(self, samples: Tensor) -> None:
        """One step, its data read."""
        images, labels = self._seen.take(samples), self._seen.labels[samples]
        set_rate(
            self._optimizer, self._recipe, step=self._done, steps=self._steps * self._recipe.epochs
        )
        self._take_step = self._take_step or self._make(images, labels, samples)
        self._take_step(images, labels, samples)
        self._done += 1

    def _make(self, images: Tensor, labels: Tensor, samples: Tensor) -> TakeStep:
        if not self._captured:
            return self.step
        restore = undoing({"network": self.model}, self._optimizer, self._device)
        return CapturedStep(self.step, images, labels, samples, restore=restore)


def make(
    way: str, setting: Setting, *, device: torch.device, workers: int = 2
) -> "Ordinary | Ours":
    """way: "loop" (timm's network behind a DataLoader), "ready" (the same, data at no cost),
    "ours", "captured".
    """
    pixels, labels = setting.pixels()
    torch.manual_seed(0)
    if way in ("ours", "captured"):
        model = setting.ours()
        return Ours(
            model, pixels, labels, recipe=setting.recipe, device=device, captured=way == "captured"
        )
    batches: Iterable[tuple[Tensor, Tensor]] = Ready(
        pixels, labels, batch=setting.batch, device=device
    )
    if way == "loop":
        batches = loader(pixels, labels, batch=setting.batch, workers=workers)
    steps = setting.images // setting.batch * setting.recipe.epochs
    return Ordinary(setting.timms(), batches, recipe=setting.recipe, device=device, steps=steps)


def work(epoch: "Ordinary | Ours") -> dict[str, int]:
    """Run one epoch and say what was done: passes, images, parameters, and how many of those have a
    gradient at its end.
    """
    counted = {"passes": 0, "images": 0}

    def count(model: nn.Module, given: tuple[Tensor, ...]) -> None:
        images = given[0]
        assert model.training
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.dtype == torch.float32
        counted["passes"] += 1
        counted["images"] += len(images)

    with epoch.model.register_forward_pre_hook(count):
        epoch()
    parameters = list(epoch.model.parameters())
    learned = [
        parameter for parameter in parameters if parameter.grad is not None and parameter.grad.any()
    ]
    counted["parameters"] = sum(parameter.numel() for parameter in parameters)
    return counted | {"learned": sum(parameter.numel() for parameter in learned)}
