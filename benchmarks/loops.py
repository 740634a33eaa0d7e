"""Two training loops for one network: an ordinary one with a DataLoader, and that of phinas.

Both do the same work: the same network, parameters, images, batch size, steps, optimizer, schedule,
loss and kinds of augmentation. A call is one epoch, from decoded images in memory to updated
weights. `count_work` counts the work, to check that it is the same.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from phinas.experiment.schema.config import Recipe
from phinas.space.interchange.torchvision_import import import_with_torchvision
from phinas.space.network import Network
from phinas.space.presets import preset
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine.checkpoint import make_state_restorer
from phinas.training.engine.optimizer import (
    learning_rate_factor,
    make_optimizer,
    peak_learning_rate,
    set_learning_rate,
)
from phinas.training.engine.train_step import CudaGraphStep, TrainStep, TrainStepFn
from phinas.training.request import TrainingRequest, TrainingSettings

TIMM = {
    "efficientnet_b0": "efficientnet_b0",
    "mobilenet_v2": "mobilenetv2_100",
    "resnet_50": "resnet50",
}
CLASSES = 10
PAD = 4  # maximum shift of an image, px


@dataclass(frozen=True)
class Workload:
    """A network and its images, which are random and have the network's resolution.

    Attributes:
        network: A preset.
        resolution: Image size, px.
        batch: Batch size.
        images: Number of images in an epoch.
    """

    network: str
    resolution: int
    batch: int
    images: int

    @property
    def recipe(self) -> Recipe:
        """A recipe with a low, nearly constant learning rate, so that training on noise is stable.

        It has more epochs than are run, so that the learning rate stays near its peak.
        """
        return Recipe(batch_size=self.batch, epochs=1000, warmup_fraction=0, learning_rate=0.01)

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(0)
        shape = (self.images, self.resolution, self.resolution, 3)
        return generator.integers(0, 256, shape, dtype=np.uint8), generator.integers(
            0, CLASSES, self.images
        )

    def phinas_network(self) -> Network:
        return replace(preset(self.network), resolution=self.resolution, classes=CLASSES)

    def timm_network(self) -> nn.Module:
        timm = import_with_torchvision("timm")
        spec = preset(self.network)
        return timm.create_model(
            TIMM[self.network],
            num_classes=CLASSES,
            drop_rate=spec.dropout,
            drop_path_rate=spec.drop_path,
        )


class InMemoryDataset(Dataset[Any]):
    """Decoded images with PIL transforms, like torchvision's CIFAR10."""

    def __init__(
        self, pixels: np.ndarray, labels: np.ndarray, transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self._pixels, self._labels, self._transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[index])), int(self._labels[index])


def make_dataloader(
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    batch: int,
    workers: int,
    mean: tuple[float, ...] = (0.5, 0.5, 0.5),
    std: tuple[float, ...] = (0.25, 0.25, 0.25),
    padding: str = "constant",
) -> DataLoader[Any]:
    """A DataLoader with random crops of the padded image, flips, ToTensor and Normalize.

    Its `workers` processes persist from epoch to epoch.
    """
    transforms = import_with_torchvision("torchvision.transforms")
    steps = [
        transforms.RandomCrop(pixels.shape[1], padding=PAD, padding_mode=padding),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    return DataLoader(
        InMemoryDataset(pixels, labels, transforms.Compose(steps)),
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        # Linux's default, also in a process that was spawned
        multiprocessing_context="fork" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


class PreloadedBatches:
    """Batches without data loading: on the device, normalized, the same in each epoch."""

    def __init__(
        self, pixels: np.ndarray, labels: np.ndarray, *, batch: int, device: torch.device
    ) -> None:
        num_images = len(labels) // batch * batch
        floats = (
            torch.from_numpy(pixels[: min(num_images, 8 * batch)])
            .to(device)
            .permute(0, 3, 1, 2)
            .float()
            .div_(255)
        )
        # Eight batches that are repeated, because more may not fit into memory
        images = floats.sub_(0.5).div_(0.25).split(batch)
        self._batches = [
            (images[number % len(images)], part)
            for number, part in enumerate(
                torch.from_numpy(labels[:num_images]).to(device).split(batch)
            )
        ]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._batches)


class PlainLoop:
    """An ordinary training loop: channels last, bfloat16 on a GPU.

    It synchronizes with the device only once an epoch, to read the loss.
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
        with_decay = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        without_decay = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        groups = [
            {"params": with_decay, "weight_decay": recipe.weight_decay},
            {"params": without_decay, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.SGD(
            groups, lr=peak_learning_rate(recipe), momentum=0.9, nesterov=True
        )
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: learning_rate_factor(recipe, step=step, steps=steps)
        )
        self._criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def __call__(self) -> float:
        """Train one epoch and return the sum of its losses."""
        self.model.train()
        total = torch.zeros((), device=self._device)
        for images, labels in self._batches:
            images_on_device = images.to(
                self._device, memory_format=torch.channels_last, non_blocking=True
            )
            targets = labels.to(self._device, non_blocking=True)
            self._optimizer.zero_grad()
            with torch.autocast(
                self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"
            ):
                loss = self._criterion(self.model(images_on_device), targets)
            loss.backward()
            self._optimizer.step()
            self._scheduler.step()
            total += loss.detach()
        return total.item()


class PhinasLoop:
    """The same training with `phinas.training.engine.train_step`, as in
    `phinas.training.engine.trainer`.

    Args:
        network: The network to train.
        pixels: Images, (N, size, size, 3), uint8.
        labels: Their classes, (N,).
        recipe: Hyperparameters.
        device: Device of the training.
        use_cuda_graph: Capture the train step as a CUDA graph.
        step: Class of the train step.
    """

    def __init__(
        self,
        network: Network,
        pixels: np.ndarray,
        labels: np.ndarray,
        *,
        recipe: Recipe,
        device: torch.device,
        use_cuda_graph: bool = False,
        step: type[TrainStep] = TrainStep,
    ) -> None:
        self.model = network.build().to(device, memory_format=torch.channels_last)
        self._recipe, self._device, self._use_cuda_graph = recipe, device, use_cuda_graph
        resolution = pixels.shape[1]
        self._train_data = ImageBatches(
            pixels, labels, resolution=resolution, device=device, resident=True
        )
        self._optimizer = make_optimizer(self.model, recipe)
        self._steps = len(labels) // recipe.known_batch_size
        settings = TrainingSettings(max_shift=PAD / resolution, horizontal_flip=True)
        self.step = step(
            self.model,
            self._optimizer,
            TrainingRequest(network, recipe, 0, settings),
            mean=torch.full((1, 3, 1, 1), 0.5, device=device),
            std=torch.full((1, 3, 1, 1), 0.25, device=device),
            micro_batch_size=recipe.known_batch_size,
        )
        self._step_fn: TrainStepFn | None = None
        self._num_steps_done = 0

    def __call__(self) -> float:
        """Train one epoch and return the sum of its losses."""
        self.model.train()
        self.step.epoch.add_(1)
        batch = self._recipe.known_batch_size
        order = (
            torch.randperm(self._train_data.count)[: self._steps * batch]
            .view(self._steps, batch)
            .to(self._device)
        )
        for samples in order:
            self.run_step(samples)
        loss_sum = self.step.loss_sum.item()
        self.step.loss_sum.zero_()
        return loss_sum

    def run_step(self, samples: Tensor) -> None:
        """Load the batch with these image indices and run one train step."""
        images, labels = self._train_data.take(samples), self._train_data.labels[samples]
        set_learning_rate(
            self._optimizer,
            self._recipe,
            step=self._num_steps_done,
            steps=self._steps * self._recipe.epochs,
        )
        self._step_fn = self._step_fn or self._make_step(images, labels, samples)
        self._step_fn(images, labels, samples)
        self._num_steps_done += 1

    def _make_step(self, images: Tensor, labels: Tensor, samples: Tensor) -> TrainStepFn:
        if not self._use_cuda_graph:
            return self.step
        restore = make_state_restorer({"network": self.model}, self._optimizer, self._device)
        return CudaGraphStep(self.step, images, labels, samples, restore=restore)


def make_loop(
    kind: str, workload: Workload, *, device: torch.device, workers: int = 2
) -> "PlainLoop | PhinasLoop":
    """Make a training loop whose call is one epoch.

    Args:
        kind: "loop" (timm's network and a DataLoader), "preloaded" (the same without data loading),
            "phinas", or "captured" (phinas with a CUDA graph).
        workload: The network and its images.
        device: Device of the training.
        workers: Number of processes of the DataLoader.
    """
    pixels, labels = workload.pixels()
    torch.manual_seed(0)
    if kind in ("phinas", "captured"):
        return PhinasLoop(
            workload.phinas_network(),
            pixels,
            labels,
            recipe=workload.recipe,
            device=device,
            use_cuda_graph=kind == "captured",
        )
    batches: Iterable[tuple[Tensor, Tensor]] = PreloadedBatches(
        pixels, labels, batch=workload.batch, device=device
    )
    if kind == "loop":
        batches = make_dataloader(pixels, labels, batch=workload.batch, workers=workers)
    steps = workload.images // workload.batch * workload.recipe.epochs
    return PlainLoop(
        workload.timm_network(), batches, recipe=workload.recipe, device=device, steps=steps
    )


def count_work(epoch: "PlainLoop | PhinasLoop") -> dict[str, int]:
    """Train one epoch and count its work.

    Returns:
        "passes": forward passes; "images"; "parameters"; "trained_parameters": those with a
        gradient that is not zero at the end.
    """
    work = {"passes": 0, "images": 0}

    def count(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        images = inputs[0]
        assert model.training
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.dtype == torch.float32
        work["passes"] += 1
        work["images"] += len(images)

    with epoch.model.register_forward_pre_hook(count):
        epoch()
    parameters = list(epoch.model.parameters())
    with_gradient = [
        parameter for parameter in parameters if parameter.grad is not None and parameter.grad.any()
    ]
    work["parameters"] = sum(parameter.numel() for parameter in parameters)
    return work | {"trained_parameters": sum(parameter.numel() for parameter in with_gradient)}
