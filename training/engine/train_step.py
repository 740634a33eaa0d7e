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

from phinas.experiment.executors import NonRetryableError
from phinas.experiment.schema.config import Recipe
from phinas.training.augmentation.mixup import mix_images, one_hot_targets
from phinas.training.augmentation.transforms import Augmentation, augment, normalize
from phinas.training.engine.device import is_out_of_memory, root_cause
from phinas.training.engine.ema import ModelEma

_T = TypeVar("_T")
_WARMUP_STEPS = 3  # steps before a capture, which create what is created lazily


class OutOfMemoryError(NonRetryableError):
    """Not even the fewest images at a time fit the device."""


# images: uint8 (N, C, S, S); labels, samples: int64 (N,), samples the indices in the training split
TrainStepFn = Callable[[Tensor, Tensor, Tensor], None]


class TrainStep:
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
        micro_batch_size: int,
        ema: ModelEma | None = None,
    ) -> None:
        device = mean.device
        self._network, self._optimizer, self._recipe = network, optimizer, recipe
        self._augmentation, self._seed, self._classes = augmentation, seed, classes
        self._mean, self._std, self._class_weights, self._micro_batch = (
            mean,
            std,
            class_weights,
            micro_batch_size,
        )
        self._average = ema
        self._dtype = activation_dtype(recipe, device)
        self.loss_sum = torch.zeros((), device=device)
        self.epoch = torch.zeros((), dtype=torch.int64, device=device)
        self.strength = torch.ones((), device=device)

    def __call__(self, images: Tensor, labels: Tensor, samples: Tensor) -> None:
        """Move the weights once, and their average."""
        batch, targets = self._prepare(images, labels, samples)
        self._optimizer.zero_grad(set_to_none=True)
        sizes = micro_batch_sizes(len(batch), self._micro_batch)
        for part, part_targets in zip(
            torch.split(batch, sizes), torch.split(targets, sizes), strict=True
        ):
            with autocast(batch.device, self._dtype):
                logits = self._network(part)
            loss = self._loss(logits.float(), part_targets) * (len(part) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            self.loss_sum += loss.detach()
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
            (self.epoch, self.strength)
            if recipe.initial_resolution_fraction < 1
            else (self.epoch, 1.0)
        )
        augmented = augment(
            images,
            samples,
            augmentation=self._augmentation,
            seed=self._seed,
            epoch=epoch,
            strength=strength,
        )
        batch = normalize(augmented, self._mean, self._std)
        if not (recipe.mixup or recipe.cutmix):
            return batch, labels
        targets = one_hot_targets(labels, self._classes, recipe.label_smoothing)
        return mix_images(
            batch,
            targets,
            samples,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            seed=self._seed,
            epoch=epoch,
        )

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean over images, also where classes weigh differently: so parts and processes add up
        to the whole batch.
        """
        if targets.is_floating_point():
            return F.cross_entropy(logits, targets, weight=self._class_weights)
        smoothing = self._recipe.label_smoothing
        return F.cross_entropy(
            logits, targets, weight=self._class_weights, label_smoothing=smoothing, reduction="none"
        ).mean()


def micro_batch_sizes(batch: int, micro_batch_size: int) -> list[int]:
    """Nearly equal parts of at most `micro_batch_size`, and of two images at least: one alone has
    no batch statistics.
    """
    count = max(1, min(-(-batch // micro_batch_size), batch // 2))
    return [batch // count + (index < batch % count) for index in range(count)]


def split_batches_on_oom(
    function: Callable[[int], _T], batch: int, micro_batch_size: int, *, halve: bool = True
) -> _T:
    """What `work` gives of as many images of a batch at a time as memory holds, halved as often as
    it takes. Raises OutOfMemoryError where it holds none, or not so many and `halve` is not
    allowed."""
    size = micro_batch_size
    while True:
        try:
            return function(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = str(root_cause(error)).partition("\n")[0] or type(error).__name__
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = max(micro_batch_sizes(batch, -(-size // 2)))
        if half >= size or not halve:
            hint = "lower the resolution" if halve else "lower recipe.micro_batch_size"
            raise OutOfMemoryError(
                f"out of memory with {size} images at a time ({message}); {hint}"
            )
        size = half


def activation_dtype(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Of activations."""
    if recipe.precision == "auto":
        supported = device.type == "cuda" and torch.cuda.is_bf16_supported(
            including_emulation=False
        )
        return torch.bfloat16 if supported else torch.float32
    return torch.bfloat16 if recipe.precision == "bf16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast | nullcontext[None]:
    """No cache of cast weights: a captured step must cast them anew each time."""
    return (
        nullcontext()
        if dtype == torch.float32
        else torch.autocast(device.type, dtype=dtype, cache_enabled=False)
    )


def supports_cuda_graphs(device: torch.device) -> bool:
    return device.type == "cuda"


class CudaGraphStep:
    """`step` as a CUDA graph for one shape of batch. `restore` undoes the steps that warm it,
    captured or not.
    """

    def __init__(
        self,
        step: TrainStep,
        images: Tensor,
        labels: Tensor,
        samples: Tensor,
        *,
        restore: Callable[[], None],
    ) -> None:
        self._images, self._labels, self._samples = images.clone(), labels.clone(), samples.clone()
        loss_sum = step.loss_sum.clone()
        try:
            self._replay = self._capture(step, self._images, self._labels, self._samples)
        finally:
            step.loss_sum.copy_(loss_sum)
            restore()

    @staticmethod
    def _capture(step: TrainStep, *batch: Tensor) -> Callable[[], None]:
        """On a stream of the batch's own device, which need not be the current one."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(batch[0].device):
            stream = _capture_stream(batch[0].device)
            stream.wait_stream(torch.cuda.current_stream())
            try:
                with torch.cuda.stream(stream):
                    for _ in range(_WARMUP_STEPS):
                        step(*batch)
                    with torch.cuda.graph(graph, stream=stream):
                        step(*batch)
            finally:
                torch.cuda.current_stream().wait_stream(stream)
        return graph.replay

    def matches(self, images: Tensor) -> bool:
        return images.shape == self._images.shape

    def __call__(self, images: Tensor, labels: Tensor, samples: Tensor) -> None:
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._samples.copy_(samples)
        self._replay()


def capture(
    step: TrainStep, images: Tensor, labels: Tensor, samples: Tensor, *, restore: Callable[[], None]
) -> "CudaGraphStep | TrainStep":
    """`step` captured, or, where that fails, as it is, which is told. Raises what says that memory
    ran out.
    """
    try:
        return CudaGraphStep(step, images, labels, samples, restore=restore)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        message = str(root_cause(error)).partition("\n")[0]
        warnings.warn(
            f"the steps of this training can't be captured ({message}); they go kernel by kernel",
            stacklevel=2,
        )
        return step


@lru_cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """One of a device for good: cuBLAS keeps a workspace for each stream that it has seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
