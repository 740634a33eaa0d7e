"""The training loop: epochs, evaluation, checkpoints and the reasons to stop."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from phinas.experiment.executors import NonRetryableError, ReportCallback
from phinas.experiment.schema.config import Recipe
from phinas.training.engine.checkpoint import CheckpointManager, PauseFiles, SavedState
from phinas.training.engine.evaluate import Evaluation
from phinas.training.engine.training_setup import TrainingSetup

# progressive learning (EfficientNetV2, arXiv:2104.00298, table 6): its stages, and the augmentation
# strength in the first of them
_PROGRESSIVE_STAGES = 4
_INITIAL_STRENGTH = 1 / 3
_SYNC_INTERVAL = 10  # steps after which several processes agree on whether to stop
_MAX_QUEUED_STEPS = 10  # steps by which the host may be ahead of a GPU


class DivergenceError(NonRetryableError):
    """The loss was not finite. The message names the epoch."""


class TrainingInterrupted(Exception):  # noqa: N818 - requested, not an error
    """A signal stopped the training, after its checkpoint was written."""


@dataclass
class TrainingProgress:
    """The progress of a training: the part of a checkpoint that is not tensors.

    Args:
        epoch: current epoch, from 1.
        step_in_epoch: completed steps of the current epoch.
        train_seconds: time of all steps; evaluation is not included.
        images_trained: number of images in all steps.
        stop_reason: "deadline" once `recipe.max_minutes` have passed; else "".
        curve: one evaluation for each completed epoch.
    """

    epoch: int = 1
    step_in_epoch: int = 0
    train_seconds: float = 0.0
    images_trained: int = 0
    stop_reason: str = ""
    curve: list[Evaluation] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"curve": [evaluation.to_dict() for evaluation in self.curve]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore the progress from the data of `to_dict`; other keys are ignored."""
        values = {name: data[name] for name in cls.__dataclass_fields__}
        return cls(**values | {"curve": [Evaluation.from_dict(point) for point in data["curve"]]})


class Trainer:
    """Trains the network of a `TrainingSetup` until its last epoch, a pause or a stop.

    Args:
        setup: network, optimizer and images.
        checkpoints: reads and writes the checkpoints; None trains without checkpoints.
        pause_files: reads the state of the paused training and writes it at the pause; None does
            neither.
        on_step: called after each step with the number of completed steps.

    Attributes:
        progress: the progress of the training.
        stop_reason: why `run` ended before the last epoch; see there.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        checkpoints: CheckpointManager | None = None,
        *,
        pause_files: PauseFiles | None = None,
        on_step: Callable[[int], None] = lambda _step: None,
    ) -> None:
        self.setup, self._checkpoints, self._on_step = setup, checkpoints, on_step
        self._pause_files = pause_files
        self._request, self._distributed = setup.request, setup.distributed
        self.progress = TrainingProgress()
        self.stop_reason = ""
        # one event for each step that a GPU may not have finished
        self._queued_steps: deque[torch.cuda.Event] = deque()

    @property
    def curve(self) -> tuple[Evaluation, ...]:
        """One evaluation for each epoch so far."""
        return tuple(self.progress.curve)

    def run(self, report: ReportCallback) -> None:
        """Train, from the checkpoint or the state of the pause if there is one.

        If the training ends before the last epoch of the recipe, `stop_reason` is "stopped"
        (`report` returned False), "paused" (at the request's `stop_epoch`) or "deadline".

        Args:
            report: called with (epoch, score) after each epoch; False stops the training. After a
                resume it is first called again for each epoch before the checkpoint, since it may
                be another function.

        Raises:
            DivergenceError: the loss is not finite.
            TrainingInterrupted: a stop was requested; the checkpoint is written.
        """
        saved_state = self._read_saved_state()
        if saved_state is not None:
            self._restore(saved_state)
            saved_state = None  # frees the copies of the restored tensors
        progress, last_epoch = self.progress, self._request.last_epoch
        keep_training = all(
            report(epoch, self._score(evaluation)) for epoch, evaluation in enumerate(self.curve, 1)
        )
        while keep_training and progress.epoch <= last_epoch and not progress.stop_reason:
            self._train_epoch()
            is_final = progress.epoch == self._request.recipe.epochs or bool(progress.stop_reason)
            progress.curve.append(self.setup.evaluate(is_final=is_final))
            keep_training = report(len(progress.curve), self._score(progress.curve[-1]))
            progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
            self._checkpoint_if_due()
        self.stop_reason = self._find_stop_reason(keep_training=keep_training)
        if self.stop_reason == "paused" and self._pause_files and self._distributed.is_rank_zero:
            self._pause_files.write(self.setup.state_tensors(), progress.to_dict())

    def _read_saved_state(self) -> SavedState | None:
        """Return the checkpoint or the state of the pause, whichever is further. One that is beyond
        the last epoch of the request is of no use.
        """
        sources = (self._checkpoints, self._pause_files)
        states = [state for source in sources if source and (state := source.read()) is not None]
        end = (self._request.last_epoch + 1, 0)
        usable = [state for state in states if _position(state) <= end]
        return max(usable, key=_position, default=None)

    def _find_stop_reason(self, *, keep_training: bool) -> str:
        progress = self.progress
        if progress.epoch > self._request.recipe.epochs:
            return progress.stop_reason
        if not keep_training:
            return "stopped"
        return progress.stop_reason or "paused"

    def _score(self, evaluation: Evaluation) -> float:
        return evaluation.score(self._request.settings.metric)

    def _train_epoch(self) -> None:
        setup, progress = self.setup, self.progress
        resolution, strength = _progressive_stage(
            self._request.recipe, progress.epoch, self._request.network.resolution
        )
        order = setup.begin_epoch(progress.epoch, resolution=resolution, strength=strength)
        clock_start = time.perf_counter() - progress.train_seconds
        self._train_steps(order, clock_start)
        # waits for the device, so the measured time includes all steps
        loss_sum = self._distributed.all_reduce_sum(setup.train_step.loss_sum).item()
        loss = loss_sum / (self._distributed.world_size * max(1, progress.step_in_epoch))
        progress.train_seconds = time.perf_counter() - clock_start
        setup.train_step.loss_sum.zero_()
        if not math.isfinite(loss):
            where = f"in epoch {progress.epoch} of {self._request.recipe.epochs}"
            raise DivergenceError(f"the loss was {loss} {where}; lower the learning rate")

    def _train_steps(self, order: Tensor, clock_start: float) -> None:
        """Run the remaining steps of the epoch, until the deadline."""
        setup, progress, train_data = self.setup, self.progress, self.setup.train_data
        device_order = order.to(setup.device)
        # images that are not resident on the device are read by the host
        indices = device_order if train_data.resident else order
        for number in range(progress.step_in_epoch, setup.steps_per_epoch):
            images = train_data.take(indices[number])
            if number + 1 < setup.steps_per_epoch:
                train_data.prefetch(indices[number + 1])
            setup.run_step(images, device_order[number], step=self._global_step)
            self._limit_queued_steps()
            progress.step_in_epoch += 1
            progress.images_trained += self._request.recipe.known_batch_size
            self._on_step(self._global_step)
            progress.train_seconds = time.perf_counter() - clock_start
            if self._past_deadline():
                progress.stop_reason = "deadline"
                return
            self._checkpoint_if_due()

    @property
    def _global_step(self) -> int:
        epochs_done = self.progress.epoch - 1
        return epochs_done * self.setup.steps_per_epoch + self.progress.step_in_epoch

    def _limit_queued_steps(self) -> None:
        """Wait until the GPU is at most `_MAX_QUEUED_STEPS` behind, since time and progress are
        recorded as soon as the host has queued a step.
        """
        device = self.setup.device
        if device.type != "cuda":
            return
        self._queued_steps.append(torch.cuda.current_stream(device).record_event())
        if len(self._queued_steps) > _MAX_QUEUED_STEPS:
            self._queued_steps.popleft().synchronize()

    @property
    def _is_between_syncs(self) -> bool:
        """Whether the processes do not synchronize after this step."""
        return bool(
            self._distributed.world_size > 1 and self.progress.step_in_epoch % _SYNC_INTERVAL
        )

    def _past_deadline(self) -> bool:
        max_minutes = self._request.recipe.max_minutes
        if max_minutes is None or self._is_between_syncs:
            return False
        return self._distributed.any_rank(
            self.progress.train_seconds >= 60 * max_minutes, device=self.setup.device
        )

    def _checkpoint_if_due(self) -> None:
        """Write a checkpoint if one is due.

        Raises:
            TrainingInterrupted: a stop was requested.
        """
        checkpoints, device = self._checkpoints, self.setup.device
        if checkpoints is None or self._is_between_syncs:
            return
        # rank 0 alone writes checkpoints, so only it knows when the last one was written
        is_due = checkpoints.stop_requested or (
            self._distributed.is_rank_zero and checkpoints.is_due
        )
        if not self._distributed.any_rank(is_due, device=device):
            return
        stop = self._distributed.any_rank(checkpoints.stop_requested, device=device)
        if self._distributed.is_rank_zero:
            self._write_checkpoint(checkpoints)
        if stop:
            raise TrainingInterrupted

    def _write_checkpoint(self, checkpoints: CheckpointManager) -> None:
        checkpoints.write(self.setup.state_tensors(), self.progress.to_dict())

    def _restore(self, saved_state: SavedState) -> None:
        tensors, progress = saved_state
        self.setup.restore(tensors)
        self.progress = TrainingProgress.from_dict(progress)
        self.setup.seed_rank(step=self._global_step)


def _position(saved_state: SavedState) -> tuple[int, int]:
    """Return the current epoch of a saved state, from 1, and its completed steps in that epoch."""
    _, progress = saved_state
    return progress["epoch"], progress["step_in_epoch"]


def _progressive_stage(recipe: Recipe, epoch: int, resolution: int) -> tuple[int, float]:
    """Return resolution and augmentation strength of an epoch.

    Both rise in equal steps from the first stage to the last (EfficientNetV2, arXiv:2104.00298,
    algorithm 1).
    """
    stages = min(_PROGRESSIVE_STAGES, recipe.epochs)
    if recipe.initial_resolution_fraction == 1 or stages == 1:
        return resolution, 1.0
    progress = (epoch - 1) * stages // recipe.epochs / (stages - 1)
    initial = recipe.initial_resolution_fraction
    return max(1, round(resolution * (initial + (1 - initial) * progress))), _INITIAL_STRENGTH + (
        1 - _INITIAL_STRENGTH
    ) * progress
