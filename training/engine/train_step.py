"""One step of a training: augment a batch, forward, backward, move the weights; eagerly, or as a
captured CUDA graph.

The one decision to know: a step reads nothing but tensors that stay where they are (the batch, its
indices, epoch, strength, learning rate), waits for nothing and draws what it augments by hashing,
so that a GPU can replay it whole: at 32 pixels the launching of kernels takes far longer than their
work. Both ways run the same `Step.__call__`.

The graph has run on no GPU yet.
"""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from phinas.experiment.executors import Conclusive
from phinas.experiment.schema.config import Recipe
from phinas.training.augmentation.mixup import mix, one_hot_targets
from phinas.training.augmentation.transforms import Augmentation, augment, normalise
from phinas.training.engine.device import first_cause, is_out_of_memory
from phinas.training.engine.ema import Average

_T = TypeVar("_T")
_WARMING = 3  # steps before a capture, which create what is created lazily


class OutOfMemory(Conclusive):
    """Not even the fewest images at a time fit the device."""


# images: uint8 (N, C, S, S); labels, samples: int64 (N,), samples the indices in the training split
TakeStep = Callable[[Tensor, Tensor, Tensor], None]


class Step:
    """Everything that a step needs but its batch. `total` sums the losses until it is zeroed;
    `epoch` and `strength` are set from outside."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        *,
        augmentation: Augmentation,
        seed: int,
        classes: int,
        mean: Tensor,
        std: Tensor,
        class_weights: Tensor | None,
        micro_batch: int,
        average: Average | None = None,
    ) -> None:
        device = mean.device
        self._network, self._optimizer, self._recipe = network, optimizer, recipe
        self._augmentation, self._seed, self._classes = augmentation, seed, classes
        self._mean, self._std, self._class_weights, self._micro_batch = (
            mean,
            std,
            class_weights,
            micro_batch,
        )
        self._average = average
        self._precision = precision(recipe, device)
        self.total = torch.zeros((), device=device)
        self.epoch = torch.zeros((), dtype=torch.int64, device=device)
        self.strength = torch.ones((), device=device)

    def __call__(self, images: Tensor, labels: Tensor, samples: Tensor) -> None:
        """Move the weights once, and their average."""
        batch, targets = self._prepare(images, labels, samples)
        self._optimizer.zero_grad(set_to_none=True)
        sizes = part_sizes(len(batch), self._micro_batch)
        for part, wanted in zip(
            torch.split(batch, sizes), torch.split(targets, sizes), strict=True
        ):
            with autocast(batch.device, self._precision):
                logits = self._network(part)
            loss = self._loss(logits.float(), wanted) * (len(part) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            self.total += loss.detach()
        self._optimizer.step()
        if self._average is not None:
            self._average.update()

    @torch.no_grad()
    def _prepare(self, images: Tensor, labels: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The batch as the network sees it, and its labels, or shares of all classes where images
        are mixed.
        """
        recipe = self._recipe
        epoch, strength = (
            (self.epoch, self.strength) if recipe.progressive < 1 else (self.epoch, 1.0)
        )
        seen = augment(
            images,
            samples,
            augmentation=self._augmentation,
            seed=self._seed,
            epoch=epoch,
            strength=strength,
        )
        batch = normalise(seen, self._mean, self._std)
        if not (recipe.mixup or recipe.cutmix):
            return batch, labels
        targets = one_hot_targets(labels, self._classes, recipe.label_smoothing)
        return mix(
            batch,
            targets,
            samples,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            seed=self._seed,
            epoch=epoch,
        )

    def _loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """The mean over images, also where classes weigh differently: so parts and processes add up
        to the whole batch.
        """
        if wanted.is_floating_point():
            return F.cross_entropy(logits, wanted, weight=self._class_weights)
        smoothing = self._recipe.label_smoothing
        return F.cross_entropy(
            logits, wanted, weight=self._class_weights, label_smoothing=smoothing, reduction="none"
        ).mean()


def part_sizes(batch: int, micro_batch: int) -> list[int]:
    """Nearly equal parts of at most `micro_batch`, and of two images at least: one alone has no
    batch statistics.
    """
    parts = max(1, min(-(-batch // micro_batch), batch // 2))
    return [batch // parts + (place < batch % parts) for place in range(parts)]


def in_parts(work: Callable[[int], _T], batch: int, micro_batch: int, *, halve: bool = True) -> _T:
    """What `work` gives of as many images of a batch at a time as memory holds, halved as often as
    it takes. Raises OutOfMemory where it holds none, or not so many and `halve` is not allowed."""
    size = micro_batch
    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            told = str(first_cause(error)).partition("\n")[0] or type(error).__name__
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = max(part_sizes(batch, -(-size // 2)))
        if half >= size or not halve:
            remedy = "lower the resolution" if halve else "lower recipe.micro_batch"
            raise OutOfMemory(f"out of memory with {size} images at a time ({told}); {remedy}")
        size = half


def precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Of activations."""
    if recipe.precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if recipe.precision == "bf16" else torch.float32


def autocast(device: torch.device, kind: torch.dtype) -> torch.autocast | nullcontext[None]:
    """No cache of cast weights: a captured step must cast them anew each time."""
    return (
        nullcontext()
        if kind == torch.float32
        else torch.autocast(device.type, dtype=kind, cache_enabled=False)
    )


def can_capture(device: torch.device) -> bool:
    return device.type == "cuda"


class CapturedStep:
    """`step` as a CUDA graph for one shape of batch. `restore` undoes the steps that warm it,
    captured or not.
    """

    def __init__(
        self,
        step: Step,
        images: Tensor,
        labels: Tensor,
        samples: Tensor,
        *,
        restore: Callable[[], None],
    ) -> None:
        self._images, self._labels, self._samples = images.clone(), labels.clone(), samples.clone()
        total = step.total.clone()
        try:
            self._replay = self._capture(step, self._images, self._labels, self._samples)
        finally:
            step.total.copy_(total)
            restore()

    @staticmethod
    def _capture(step: Step, *batch: Tensor) -> Callable[[], None]:
        """On a stream of the batch's own device, which need not be the current one."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(batch[0].device):
            aside = _stream_aside(batch[0].device)
            aside.wait_stream(torch.cuda.current_stream())
            try:
                with torch.cuda.stream(aside):
                    for _ in range(_WARMING):
                        step(*batch)
                    with torch.cuda.graph(graph, stream=aside):
                        step(*batch)
            finally:
                torch.cuda.current_stream().wait_stream(aside)
        return graph.replay

    def takes(self, images: Tensor) -> bool:
        return images.shape == self._images.shape

    def __call__(self, images: Tensor, labels: Tensor, samples: Tensor) -> None:
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._samples.copy_(samples)
        self._replay()


def capture(
    step: Step, images: Tensor, labels: Tensor, samples: Tensor, *, restore: Callable[[], None]
) -> "CapturedStep | Step":
    """`step` captured, or, where that fails, as it is, which is told. Raises what says that memory
    ran out.
    """
    try:
        return CapturedStep(step, images, labels, samples, restore=restore)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        told = str(first_cause(error)).partition("\n")[0]
        warnings.warn(
            f"the steps of this training can't be captured ({told}); they go kernel by kernel",
            stacklevel=2,
        )
        return step


@lru_cache
def _stream_aside(device: torch.device) -> torch.cuda.Stream:
    """One of a device for good: cuBLAS keeps a workspace for each stream that it has seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
