"""One train step: augmentation, forward and backward pass, update of the weights.

It runs eagerly or as a captured CUDA graph, both through `TrainStep.__call__`.

The main decision: a step reads only tensors that stay in place (the batch, its indices,
epoch, strength, learning rate). It never synchronizes, and the random numbers of its augmentation
are hashes of seed, epoch and image index. So a GPU can replay all of it, which matters for small
images: at 32 px, launching the kernels takes far longer than running them.

Not tested: the captured step has not run on a GPU yet.
"""

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
from phinas.training.augmentation.transforms import augment, normalize
from phinas.training.engine.device import (
    auto_precision,
    is_out_of_memory,
    may_have_another_cause,
    root_cause,
)
from phinas.training.engine.ema import ModelEma
from phinas.training.request import TrainingRequest

_T = TypeVar("_T")
_WARMUP_STEPS = 3  # steps before a capture, in which torch creates tensors lazily


class OutOfMemoryError(NonRetryableError):
    """The device has too little memory, also for the smallest micro-batch."""


# called with images, uint8 (N, C, S, S); labels, int64 (N,); indices in the training split, int64
# (N,)
TrainStepFn = Callable[[Tensor, Tensor, Tensor], None]


class TrainStep:
    """Trains a network on one batch per call.

    Args:
        network: the network, on the device of `mean`.
        optimizer: optimizer of its parameters.
        request: recipe, seed and augmentation.
        mean, std: (1, channels, 1, 1), of pixels divided by 255.
        micro_batch_size: images in one forward pass; gradients are accumulated over the batch.
        class_weights: (classes,), weights of the classes in the loss; None: all are 1.
        ema: average of the weights, updated in each step; None: no average.

    Attributes:
        loss_sum: sum of the losses of all steps since the caller last set it to zero.
        epoch: current epoch, set by the caller.
        strength: strength of the augmentation, from 0 to 1, set by the caller.
        dtype: data type of the activations.
        scaler: scales the loss; enabled for float16.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        request: TrainingRequest,
        *,
        mean: Tensor,
        std: Tensor,
        micro_batch_size: int,
        class_weights: Tensor | None = None,
        ema: ModelEma | None = None,
    ) -> None:
        device = mean.device
        self._network, self._optimizer, self._ema = network, optimizer, ema
        self._recipe, self._seed = request.recipe, request.seed
        self._augmentation, self._classes = request.augmentation, request.network.classes
        self._mean, self._std, self._class_weights = mean, std, class_weights
        self._micro_batch_size = micro_batch_size
        self.dtype = activation_dtype(request.recipe, device)
        # gradients in float16 would underflow; with other types it does nothing
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.loss_sum = torch.zeros((), device=device)
        self.epoch = torch.zeros((), dtype=torch.int64, device=device)
        self.strength = torch.ones((), device=device)

    def __call__(self, images: Tensor, labels: Tensor, samples: Tensor) -> None:
        """Update the weights and their average once.

        Args:
            images: uint8 (N, channels, size, size).
            labels: int64 (N,).
            samples: int64 (N,), indices of the images in the training split.
        """
        batch, targets = self._prepare(images, labels, samples)
        self._optimizer.zero_grad(set_to_none=True)
        sizes = micro_batch_sizes(len(batch), self._micro_batch_size)
        for part, part_targets in zip(
            torch.split(batch, sizes), torch.split(targets, sizes), strict=True
        ):
            with autocast(batch.device, self.dtype):
                logits = self._network(part)
            loss = self._loss(logits.float(), part_targets) * (len(part) / len(batch))
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.loss_sum += loss.detach()
        if self._recipe.max_gradient_norm:
            self.scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.max_gradient_norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        if self._ema is not None:
            self._ema.update()

    @torch.no_grad()
    def _prepare(self, images: Tensor, labels: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Augment and normalize a batch.

        Returns:
            The batch, and its targets: labels (int64, (N,)), or with mixup or CutMix the
            probabilities of the classes (float, (N, classes)).
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
        """Return the mean loss over images.

        For labels torch would divide by the sum of the class weights. With a mean over images, the
        gradients of micro-batches and of processes add up to those of the full batch.
        """
        if targets.is_floating_point():
            return F.cross_entropy(logits, targets, weight=self._class_weights)
        smoothing = self._recipe.label_smoothing
        return F.cross_entropy(
            logits, targets, weight=self._class_weights, label_smoothing=smoothing, reduction="none"
        ).mean()


def micro_batch_sizes(batch: int, micro_batch_size: int) -> list[int]:
    """Return the sizes of nearly equal micro-batches, of at most `micro_batch_size` images.

    Each has at least two images if the batch has, since one image has no batch statistics.
    """
    count = max(1, min(-(-batch // micro_batch_size), batch // 2))
    return [batch // count + (index < batch % count) for index in range(count)]


def split_batches_on_oom(
    function: Callable[[int], _T], batch: int, micro_batch_size: int, *, halve: bool = True
) -> _T:
    """Call a function with the largest micro-batch size that fits the memory.

    Args:
        function: called with a micro-batch size.
        batch: batch size.
        micro_batch_size: the first size to try; it is halved as long as memory runs out.
        halve: False tries the first size only.

    Returns:
        The result of the function.

    Raises:
        OutOfMemoryError: the smallest size does not fit, or the first one if `halve` is False.
        RuntimeError: the error of the function, if its cause may be another one than memory.
    """
    size = micro_batch_size
    while True:
        half = max(micro_batch_sizes(batch, -(-size // 2)))
        is_last = half >= size or not halve
        try:
            return function(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or (is_last and may_have_another_cause(error)):
                raise
            message = str(root_cause(error)).partition("\n")[0] or type(error).__name__
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if is_last:
            hint = "lower the resolution" if halve else "lower recipe.micro_batch_size"
            raise OutOfMemoryError(
                f"out of memory with a micro-batch of {size} images ({message}); {hint}"
            )
        size = half


def activation_dtype(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Return the data type of activations: bfloat16, float16 or float32."""
    precision = recipe.precision
    if precision == "auto":
        precision = auto_precision(str(device))
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast | nullcontext[None]:
    """Return an autocast context that casts the weights in each step, as a CUDA graph must."""
    return (
        nullcontext()
        if dtype == torch.float32
        else torch.autocast(device.type, dtype=dtype, cache_enabled=False)
    )


def supports_cuda_graphs(device: torch.device) -> bool:
    return device.type == "cuda"


class CudaGraphStep:
    """A train step as a CUDA graph, for batches of one shape.

    Args:
        step: the train step.
        images, labels, samples: a batch of that shape.
        restore: undoes the warm-up steps; called also if the capture fails.
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
        """Capture on the device of the batch, which may not be the current device."""
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
        """Return whether the graph is for batches of this shape."""
        return images.shape == self._images.shape

    def __call__(self, images: Tensor, labels: Tensor, samples: Tensor) -> None:
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._samples.copy_(samples)
        self._replay()


class CaptureError(RuntimeError):
    """The train step could not be captured as a CUDA graph."""


def capture(
    step: TrainStep, images: Tensor, labels: Tensor, samples: Tensor, *, restore: Callable[[], None]
) -> CudaGraphStep:
    """Capture a train step as a CUDA graph.

    Raises:
        CaptureError: it cannot be captured.
        RuntimeError: out of memory.
    """
    try:
        return CudaGraphStep(step, images, labels, samples, restore=restore)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise CaptureError(str(root_cause(error)).partition("\n")[0]) from error


def is_process_usable_after_failed_capture() -> bool:
    """Return whether this process can train on a GPU after a failed capture.

    Before torch 2.13 the allocator and the random generators stay in capture, so that the next
    capture, `empty_cache` and random numbers fail.
    """
    major, minor = torch.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (2, 13)


@lru_cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the only capture stream of a device, since cuBLAS allocates memory for each stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
