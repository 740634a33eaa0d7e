"""The parts that the steps of one training need: network, optimizer, images, train step.

The main decision: this is the only place where they are assembled. The trainer, the dry run
that finds a micro-batch size that fits the memory, and the time estimate all use a `TrainingSetup`.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from phinas.experiment.seeds import derive_seed
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine.checkpoint import make_state_restorer, restore_state, state_tensors
from phinas.training.engine.device import resolve_device
from phinas.training.engine.distributed import (
    SINGLE_PROCESS,
    DistributedContext,
    convert_sync_batchnorm,
)
from phinas.training.engine.ema import ModelEma
from phinas.training.engine.evaluate import Evaluation, evaluate
from phinas.training.engine.initialization import (
    FROM_SCRATCH,
    Initialization,
    initialize_network,
    set_train_mode,
)
from phinas.training.engine.optimizer import make_optimizer, set_learning_rate
from phinas.training.engine.train_step import (
    CaptureError,
    CudaGraphStep,
    TrainStep,
    TrainStepFn,
    capture,
    supports_cuda_graphs,
)
from phinas.training.request import TrainingRequest

_SCALER_STATE = ("scale", "_growth_tracker")  # what changes in the state of a GradScaler


class TrainingData(Protocol):
    """The images of a training: `PreparedData`, or synthetic images."""

    @property
    def train(self) -> int:
        """Number of training images."""

    @property
    def counts(self) -> Sequence[int]:
        """Number of training images of each class."""

    @property
    def mean(self) -> Sequence[float]:
        """Mean of each channel, for pixels divided by 255."""

    @property
    def std(self) -> Sequence[float]:
        """Standard deviation of each channel, for pixels divided by 255."""

    def train_val_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return training images and labels, and validation images and labels."""


class TrainingSetup:
    """The parts of one training, on its device.

    Args:
        request: the training; `recipe.batch_size` is the global batch size of all processes.
        data: training and validation images.
        micro_batch_size: images in one forward pass; gradients are accumulated over the batch.
        initialization: initial weights and frozen parts.
        distributed: rank and world size of this process.

    Attributes:
        cuda_graph: "captured", or "failed: ..." after a failed capture; else "".
    """

    def __init__(
        self,
        request: TrainingRequest,
        data: TrainingData,
        *,
        micro_batch_size: int,
        initialization: Initialization = FROM_SCRATCH,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        self.request, self.distributed = request, distributed
        self.cuda_graph = ""
        self.micro_batch_size = micro_batch_size
        self._initialization = initialization
        self.device = device = resolve_device(request.settings.device)
        recipe = request.recipe
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        arrays = data.train_val_arrays()
        self.train_data, self.val_data = (
            ImageBatches(
                images,
                labels,
                resolution=request.network.resolution,
                device=device,
                keep_pixels=request.settings.keep_images,
            )
            for images, labels in (arrays[:2], arrays[2:])
        )
        self.mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(1, -1, 1, 1)
        # the last incomplete batch is dropped; its images differ from epoch to epoch
        self.steps_per_epoch = data.train // recipe.known_batch_size
        self.total_steps = self.steps_per_epoch * recipe.epochs
        self.network = initialize_network(
            request.network,
            recipe,
            initialization,
            device=device,
            steps=self.steps_per_epoch if recipe.schedule == "constant" else self.total_steps,
        )
        if distributed.world_size > 1:
            convert_sync_batchnorm(self.network)
        self.seed_rank(step=0)
        self.optimizer = make_optimizer(self.network, recipe)
        self.ema = (
            ModelEma(self.network, fraction=recipe.ema_fraction, capturable=device.type == "cuda")
            if recipe.ema_fraction
            else None
        )
        wrapped = distributed.wrap_model(self.network)
        self.train_step = TrainStep(
            torch.compile(wrapped) if recipe.compile else wrapped,  # type: ignore[arg-type]
            self.optimizer,
            request,
            mean=self.mean,
            std=self.std,
            class_weights=_class_weights(data.counts).to(device)
            if recipe.class_balanced_loss
            else None,
            micro_batch_size=micro_batch_size,
            ema=self.ema,
        )
        self._use_cuda_graph = (
            request.settings.capture != "never"
            and supports_cuda_graphs(device)
            and distributed.world_size == 1
            and not recipe.compile
            and not self.train_step.scaler.is_enabled()  # it reads in each step whether to skip it
        )
        self._cuda_graph_step: CudaGraphStep | None = None

    @property
    def models(self) -> dict[str, nn.Module]:
        """The modules that a train step changes, by name: "network", and "ema" if there is one."""
        return {"network": self.network} | ({} if self.ema is None else {"ema": self.ema.module})

    @property
    def eval_model(self) -> nn.Module:
        """The model that is evaluated and saved: the network, or the average of its weights."""
        return self.network if self.ema is None else self.ema.module

    def seed_rank(self, *, step: int) -> None:
        """Seed torch by rank if there are several processes, for stochastic depth and dropout."""
        if self.distributed.world_size > 1:
            torch.manual_seed(derive_seed(self.request.seed, "noise", self.distributed.rank, step))

    def begin_epoch(self, epoch: int, *, resolution: int, strength: float) -> Tensor:
        """Prepare the steps of an epoch.

        Args:
            epoch: number of the epoch, from 1.
            resolution: resolution of its training images, in px.
            strength: strength of its augmentation, from 0 to 1.

        Returns:
            int64 (steps, batch size of this process), on the CPU: for each step the indices of its
            images in the training split.
        """
        if resolution != self.train_data.resolution:
            self._cuda_graph_step = None  # frees its memory before the new images are allocated
            self.optimizer.zero_grad(set_to_none=True)
        self.train_data = self.train_data.at_resolution(resolution)
        set_train_mode(self.network, self.request.recipe, self._initialization)
        self.train_step.epoch.fill_(epoch)
        self.train_step.strength.fill_(strength)
        generator = torch.Generator().manual_seed(derive_seed(self.request.seed, "order", epoch))
        batch = self.request.recipe.known_batch_size
        order = torch.randperm(self.train_data.count, generator=generator)
        order = order[: self.steps_per_epoch * batch].view(self.steps_per_epoch, batch)
        return order[:, self.distributed.rank :: self.distributed.world_size].contiguous()

    def run_step(self, images: Tensor, samples: Tensor, *, step: int) -> None:
        """Train on one batch.

        Args:
            images: uint8 (batch, channels, size, size), taken from `train_data`.
            samples: int64 (batch,) on the device: indices of the images in `train_data`.
            step: number of this step in the training, from 0; it decides the learning rate and
                the averaging horizon.
        """
        recipe, labels = self.request.recipe, self.train_data.labels[samples]
        set_learning_rate(self.optimizer, recipe, step=step, steps=self.total_steps)
        if self.ema is not None:
            self.ema.set_step(step)
        self._select_step(images, labels, samples)(images, labels, samples)

    def dry_run(self, *, num_processes: int) -> None:
        """Run one train step to find out whether it fits the memory.

        Args:
            num_processes: processes of the training. With several, memory for a second copy of the
                gradients is allocated, as DistributedDataParallel does.

        Raises:
            RuntimeError: out of memory; `is_out_of_memory` recognizes it.
        """
        buckets = [
            torch.empty_like(parameter)
            for parameter in self.network.parameters()
            if num_processes > 1
        ]
        order = self.begin_epoch(1, resolution=self.train_data.resolution, strength=1.0)[0]
        samples = order.to(self.device)
        images = self.train_data.take(samples if self.train_data.resident else order)
        self.train_step(images, self.train_data.labels[samples], samples)
        self.train_step.loss_sum.item()
        del buckets

    def evaluate(self, *, is_final: bool) -> Evaluation:
        """Evaluate the model on the validation images, in the precision of the training.

        Args:
            is_final: whether the training is complete. Only then the evaluation has bootstrap
                replicates, which take 20 ms for 10,000 images.
        """
        return evaluate(
            self.eval_model,
            self.val_data,
            classes=self.request.network.classes,
            mean=self.mean,
            std=self.std,
            metric=self.request.settings.metric if is_final else "accuracy",
            dtype=self.train_step.dtype,
            distributed=self.distributed,
        )

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a training changes, by name, for a checkpoint."""
        tensors = state_tensors(self.models, self.optimizer, self.device)
        tensors["loss_sum"] = self.train_step.loss_sum
        scaler = self.train_step.scaler
        if scaler.is_enabled():
            values = scaler.state_dict()
            tensors["loss_scale"] = torch.tensor(
                [values[name] for name in _SCALER_STATE], dtype=torch.float64
            )
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the tensors that `state_tensors` returned."""
        restore_state(tensors, self.models, self.optimizer, self.device)
        self.train_step.loss_sum.copy_(tensors["loss_sum"])
        scaler = self.train_step.scaler
        if scaler.is_enabled():
            scale, growth_tracker = tensors["loss_scale"].tolist()
            scaler.load_state_dict(
                scaler.state_dict()
                | dict(zip(_SCALER_STATE, (scale, int(growth_tracker)), strict=True))
            )

    def _select_step(self, images: Tensor, labels: Tensor, samples: Tensor) -> TrainStepFn:
        """Return the train step as a CUDA graph, captured once for each resolution.

        It is the eager step on devices without CUDA graphs, with several processes, if
        torch.compile compiles the network, with a scaled loss (float16), and after a failed
        capture.

        Raises:
            CaptureError: the capture failed, and it is required (`TrainingSettings.capture`).
        """
        if not self._use_cuda_graph:
            return self.train_step
        if self._cuda_graph_step is not None and self._cuda_graph_step.matches(images):
            return self._cuda_graph_step
        restore = make_state_restorer(self.models, self.optimizer, self.device)
        try:
            self._cuda_graph_step = capture(
                self.train_step, images, labels, samples, restore=restore
            )
        except CaptureError as error:
            if self.request.settings.capture == "required":
                raise
            self._use_cuda_graph, self._cuda_graph_step = False, None
            self.cuda_graph = f"failed: {error}"
            warnings.warn(
                f"the train step could not be captured as a CUDA graph ({error}); training "
                "continues with eager steps",
                stacklevel=2,
            )
            return self.train_step
        self.cuda_graph = "captured"
        return self._cuda_graph_step


def _class_weights(counts: Sequence[int]) -> Tensor:
    """Weights inverse to the number of images of each class, with a mean of 1 over the images."""
    return sum(counts) / (len(counts) * torch.tensor(counts, dtype=torch.float32))
