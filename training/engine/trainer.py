"""The trainer: epochs, evaluation and checkpoints of one training, and why it stops."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from phinas.experiment.executors import NonRetryableError, ReportCallback
from phinas.experiment.schema.config import Recipe
from phinas.experiment.seeds import derive_seed
from phinas.space.spec import ArchSpec
from phinas.training.augmentation.transforms import Augmentation
from phinas.training.data.dataloader import ImageBatches
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.checkpoint import (
    CheckpointManager,
    TrainingState,
    make_state_restorer,
    restore_state,
    state_tensors,
)
from phinas.training.engine.distributed import DistributedContext, convert_sync_batchnorm
from phinas.training.engine.ema import ModelEma
from phinas.training.engine.evaluate import Score, evaluate
from phinas.training.engine.initialization import Initialization, initialize_network, set_train_mode
from phinas.training.engine.optimizer import make_optimizer, set_learning_rate
from phinas.training.engine.train_step import (
    CudaGraphStep,
    TrainStep,
    TrainStepFn,
    capture,
    supports_cuda_graphs,
)

# of progressive learning, and the first one's strength of augmentation (arXiv:2104.00298, table 6)
_PROGRESSIVE_STAGES = 4
_INITIAL_STRENGTH = 1 / 3
# steps between two times that several processes ask one another whether to stop
_SYNC_INTERVAL = 10
_MAX_QUEUED_STEPS = 10  # steps that the host may be ahead of a GPU
# of a trainer, next to its tensors and its curve
_PROGRESS_FIELDS = (
    "epoch",
    "step_in_epoch",
    "train_seconds",
    "images_trained",
    "stop_reason",
)


class DivergenceError(NonRetryableError):
    """The loss was not finite; the message says in which epoch."""


class TrainingPaused(Exception):  # noqa: N818 - asked for, and not an error
    """The training was told to stop; its checkpoint is written."""


@dataclass
class Trainer:
    """A training in progress; `run` carries it through."""

    spec: ArchSpec
    data: PreparedData
    recipe: Recipe
    augmentation: Augmentation
    seed: int
    device: torch.device
    initialization: Initialization
    checkpoints: CheckpointManager | None
    distributed: DistributedContext
    micro_batch_size: int
    # called after each step with how many there were
    on_step: Callable[[int], None] = lambda _step: None
    epoch: int = 1  # that is being trained
    step_in_epoch: int = 0  # steps of it
    train_seconds: float = 0.0  # of steps, evaluation not counted
    images_trained: int = 0  # that were trained on
    curve: list[Score] = field(default_factory=list)
    stop_reason: str = ""
    cuda_graph_step: CudaGraphStep | None = None
    # the ends of steps that a GPU may still be at
    queued_steps: deque[torch.cuda.Event] = field(default_factory=deque)

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.use_cuda_graph = (
            supports_cuda_graphs(self.device)
            and self.distributed.world_size == 1
            and not self.recipe.compile
        )
        train_images, train_labels, val_images, val_labels = self.data.train_val_arrays()
        resolution, device = self.spec.resolution, self.device
        self.train_data = ImageBatches(
            train_images, train_labels, resolution=resolution, device=device
        )
        self.val_data = ImageBatches(val_images, val_labels, resolution=resolution, device=device)
        self.mean = torch.tensor(self.data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(self.data.std, device=device).view(1, -1, 1, 1)
        # the remainder is left out, other images each epoch
        self.steps_per_epoch = self.data.train // self.recipe.batch_size
        self.total_steps = self.steps_per_epoch * self.recipe.epochs
        self.network = initialize_network(
            self.spec, self.initialization, device=device, steps=self.total_steps
        )
        if self.distributed.world_size > 1:
            convert_sync_batchnorm(self.network)
        self._seed_rank()
        self.optimizer = make_optimizer(self.network, self.recipe)
        self.ema = (
            ModelEma(self.network, horizon=self.recipe.ema_fraction * self.total_steps)
            if self.recipe.ema_fraction
            else None
        )
        weights = (
            _class_weights(self.data.counts).to(device) if self.recipe.class_balanced_loss else None
        )
        wrapped = self.distributed.wrap_model(self.network)
        self.train_step = TrainStep(
            torch.compile(wrapped) if self.recipe.compile else wrapped,  # type: ignore[arg-type]
            self.optimizer,
            self.recipe,
            augmentation=self.augmentation,
            seed=self.seed,
            classes=self.spec.classes,
            mean=self.mean,
            std=self.std,
            class_weights=weights,
            micro_batch_size=self.micro_batch_size,
            ema=self.ema,
        )

    @cached_property
    def models(self) -> dict[str, nn.Module]:
        return {"network": self.network} | (
            {"ema": self.ema.module} if self.ema is not None else {}
        )

    @property
    def eval_model(self) -> nn.Module:
        """What is scored and kept: the network, or the average of its weights."""
        return self.network if self.ema is None else self.ema.module

    def run(self, report: ReportCallback) -> None:
        saved_state = self.checkpoints.read() if self.checkpoints else None
        if saved_state is not None:
            self._restore(saved_state)
            saved_state = None  # tensors that the training has now
        # A report that was made before it was killed is made again: who hears it may be new.
        keep_training = all(
            report(number, score.accuracy) for number, score in enumerate(self.curve, 1)
        )
        while keep_training and self.epoch <= self.recipe.epochs and not self.stop_reason:
            self._train_epoch()
            self.curve.append(self._evaluate())
            keep_training = report(len(self.curve), self.curve[-1].accuracy)
            self.epoch, self.step_in_epoch = self.epoch + 1, 0
            self._checkpoint_if_due()
        if not keep_training and self.epoch <= self.recipe.epochs:
            self.stop_reason = "stopped"

    def dry_run(self, *, distributed: DistributedContext) -> None:
        """One step, to see whether memory holds it; distributed: of several processes, whose
        gradients are stored twice.
        """
        buckets = [
            torch.empty_like(parameter)
            for parameter in self.network.parameters()
            if distributed.world_size > 1
        ]
        set_train_mode(self.network, self.initialization)
        order = self._epoch_order()[0]
        samples = order.to(self.device)
        images = self.train_data.take(samples if self.train_data.resident else order)
        self.train_step(images, self.train_data.labels[samples], samples)
        self.train_step.loss_sum.item()
        del buckets

    def _train_epoch(self) -> None:
        resolution, strength = _progressive_stage(self.recipe, self.epoch, self.spec.resolution)
        if resolution != self.train_data.resolution:
            self.cuda_graph_step = None  # its memory is free for the images
            self.optimizer.zero_grad(set_to_none=True)
        self.train_data = train_data = self.train_data.at_resolution(resolution)
        order = self._epoch_order()
        device_order = order.to(self.device)
        # a streamed set is read by the host
        indices = device_order if train_data.resident else order
        start_time, seconds_before = time.perf_counter(), self.train_seconds
        set_train_mode(self.network, self.initialization)
        self.train_step.epoch.fill_(self.epoch)
        self.train_step.strength.fill_(strength)
        for number in range(self.step_in_epoch, self.steps_per_epoch):
            samples = device_order[number]
            images, labels = train_data.take(indices[number]), train_data.labels[samples]
            if number + 1 < self.steps_per_epoch:
                train_data.prefetch(indices[number + 1])
            set_learning_rate(
                self.optimizer, self.recipe, step=self._global_step, steps=self.total_steps
            )
            self._select_step(images, labels, samples)(images, labels, samples)
            self._limit_queued_steps()
            self.step_in_epoch += 1
            self.images_trained += self.recipe.batch_size
            self.on_step(self._global_step)
            self.train_seconds = seconds_before + time.perf_counter() - start_time
            if self._past_deadline():
                self.stop_reason = "deadline"
                break
            self._checkpoint_if_due()
        loss_sum = self.distributed.all_reduce_sum(
            self.train_step.loss_sum
        ).item()  # waits for the device, so the clock is right
        loss = loss_sum / (self.distributed.world_size * max(1, self.step_in_epoch))
        self.train_seconds = seconds_before + time.perf_counter() - start_time
        self.train_step.loss_sum.zero_()
        if not math.isfinite(loss):
            where = f"in epoch {self.epoch} of {self.recipe.epochs}"
            raise DivergenceError(f"the loss was {loss} {where}; lower the learning rate")

    def _evaluate(self) -> Score:
        return evaluate(
            self.eval_model,
            self.val_data,
            classes=self.spec.classes,
            mean=self.mean,
            std=self.std,
            distributed=self.distributed,
        )

    @property
    def _global_step(self) -> int:
        return (self.epoch - 1) * self.steps_per_epoch + self.step_in_epoch

    def _epoch_order(self) -> Tensor:
        """The samples of each step of this epoch that are this process's, (steps, batch /
        ranks).
        """
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        batch = self.recipe.batch_size
        order = torch.randperm(self.data.train, generator=generator)[
            : self.steps_per_epoch * batch
        ].view(self.steps_per_epoch, batch)
        return order[:, self.distributed.rank :: self.distributed.world_size].contiguous()

    def _seed_rank(self) -> None:
        """Several processes drop other paths and units each; where a training goes on, others than
        before.
        """
        if self.distributed.world_size > 1:
            torch.manual_seed(
                derive_seed(self.seed, "noise", self.distributed.rank, self._global_step)
            )

    def _select_step(self, images: Tensor, labels: Tensor, samples: Tensor) -> TrainStepFn:
        """Captured once for each resolution; several processes, and what torch compiles, go step by
        step.
        """
        if not self.use_cuda_graph:
            return self.train_step
        if self.cuda_graph_step is not None and self.cuda_graph_step.matches(images):
            return self.cuda_graph_step
        restore = make_state_restorer(self.models, self.optimizer, self.device)
        step = capture(self.train_step, images, labels, samples, restore=restore)
        self.cuda_graph_step = step if isinstance(step, CudaGraphStep) else None
        self.use_cuda_graph = self.cuda_graph_step is not None
        return step

    def _limit_queued_steps(self) -> None:
        """Let the host be a few steps ahead of a GPU and no more: clock, progress and checkpoints
        are of what is done.
        """
        if self.device.type != "cuda":
            return
        self.queued_steps.append(torch.cuda.current_stream(self.device).record_event())
        if len(self.queued_steps) > _MAX_QUEUED_STEPS:
            self.queued_steps.popleft().synchronize()

    def _past_deadline(self) -> bool:
        if self.recipe.max_minutes is None or (
            self.distributed.world_size > 1 and self.step_in_epoch % _SYNC_INTERVAL
        ):
            return False
        return self.distributed.any_rank(
            self.train_seconds >= 60 * self.recipe.max_minutes, device=self.device
        )

    def _checkpoint_if_due(self) -> None:
        """Write a checkpoint where one is due, and stop where that is asked for."""
        if self.checkpoints is None or (
            self.distributed.world_size > 1 and self.step_in_epoch % _SYNC_INTERVAL
        ):
            return
        # who writes knows when that was
        is_due = self.checkpoints.stop_requested or (
            self.distributed.is_rank_zero and self.checkpoints.is_due
        )
        if not self.distributed.any_rank(is_due, device=self.device):
            return
        stop = self.distributed.any_rank(self.checkpoints.stop_requested, device=self.device)
        if self.distributed.is_rank_zero:
            self.checkpoints.write(
                state_tensors(self.models, self.optimizer, self.device)
                | {"loss_sum": self.train_step.loss_sum},
                {name: getattr(self, name) for name in _PROGRESS_FIELDS}
                | {"curve": [score.to_dict() for score in self.curve]},
            )
        if stop:
            raise TrainingPaused

    def _restore(self, saved_state: TrainingState) -> None:
        tensors, progress = saved_state
        restore_state(tensors, self.models, self.optimizer, self.device)
        self.train_step.loss_sum.copy_(tensors["loss_sum"])
        for name in _PROGRESS_FIELDS:
            setattr(self, name, progress[name])
        self.curve = [Score.from_dict(point) for point in progress["curve"]]
        self._seed_rank()


def _progressive_stage(recipe: Recipe, epoch: int, resolution: int) -> tuple[int, float]:
    """Resolution and strength of augmentation in an epoch: equal steps from the first to the last
    (algorithm 1 there).
    """
    stages = min(_PROGRESSIVE_STAGES, recipe.epochs)
    if recipe.initial_resolution_fraction == 1 or stages == 1:
        return resolution, 1.0
    progress = (epoch - 1) * stages // recipe.epochs / (stages - 1)
    initial = recipe.initial_resolution_fraction
    return max(1, round(resolution * (initial + (1 - initial) * progress))), _INITIAL_STRENGTH + (
        1 - _INITIAL_STRENGTH
    ) * progress


def _class_weights(counts: Sequence[int]) -> Tensor:
    """Inverse to the images of each class, and 1 on average over the images."""
    return sum(counts) / (len(counts) * torch.tensor(counts, dtype=torch.float32))
