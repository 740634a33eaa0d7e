"""The course of one training: its parts, its epochs, its snapshots, and why it ends."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from phinas.experiment.executors import Conclusive, Report
from phinas.experiment.schema.config import Recipe
from phinas.experiment.seeds import seed_of
from phinas.space.spec import ArchSpec
from phinas.training.augmentation.transforms import Augmentation
from phinas.training.data.dataloader import Batches
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.checkpoint import Held, Snapshots, put_back, tensors_of, undoing
from phinas.training.engine.distributed import Ranks, share_statistics
from phinas.training.engine.ema import Average
from phinas.training.engine.evaluate import Score, evaluate
from phinas.training.engine.initialization import Start, begin, learn
from phinas.training.engine.optimizer import make_optimizer, set_rate
from phinas.training.engine.train_step import CapturedStep, Step, TakeStep, can_capture, capture

# of progressive learning, and the first one's strength of augmentation (arXiv:2104.00298, table 6)
_STAGES = 4
_FIRST_STRENGTH = 1 / 3
_AGREEING = 10  # steps between two times that several processes ask one another whether to stop
_AHEAD = 10  # steps that the host may be ahead of a GPU
_FACTS = (
    "epoch",
    "done",
    "seconds",
    "images",
    "ended",
)  # of a course, beside its tensors and its curve


class Diverged(Conclusive):
    """The loss was not finite; the message says in which epoch."""


class Paused(Exception):  # noqa: N818 - asked for, and not an error
    """The training was told to stop; its snapshot is written."""


@dataclass
class Course:
    """A training in progress; `run` carries it through."""

    spec: ArchSpec
    data: PreparedData
    recipe: Recipe
    augmentation: Augmentation
    seed: int
    device: torch.device
    start: Start
    snapshots: Snapshots | None
    ranks: Ranks
    micro_batch: int
    tick: Callable[[int], None] = lambda _step: (
        None
    )  # called after each step with how many there were
    epoch: int = 1  # that is being trained
    done: int = 0  # steps of it
    seconds: float = 0.0  # of steps, evaluation not counted
    images: int = 0  # that were trained on
    curve: list[Score] = field(default_factory=list)
    ended: str = ""
    captured: CapturedStep | None = None
    under_way: deque[torch.cuda.Event] = field(
        default_factory=deque
    )  # the ends of steps that a GPU may still be at

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.captures = (
            can_capture(self.device) and self.ranks.count == 1 and not self.recipe.compile
        )
        train_images, train_labels, held_images, held_labels = self.data.steer_arrays()
        side, device = self.spec.resolution, self.device
        self.seen = Batches(train_images, train_labels, side=side, device=device)
        self.held = Batches(held_images, held_labels, side=side, device=device)
        self.mean = torch.tensor(self.data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(self.data.std, device=device).view(1, -1, 1, 1)
        self.steps = (
            self.data.train // self.recipe.batch
        )  # the remainder is left out, other images each epoch
        self.whole = self.steps * self.recipe.epochs
        self.network = begin(self.spec, self.start, device=device, steps=self.whole)
        if self.ranks.count > 1:
            share_statistics(self.network)
        self._draw_apart()
        self.optimizer = make_optimizer(self.network, self.recipe)
        self.average = (
            Average(self.network, horizon=self.recipe.ema * self.whole) if self.recipe.ema else None
        )
        weights = _class_weights(self.data.counts).to(device) if self.recipe.balance else None
        called = self.ranks.joined(self.network)
        self.step = Step(
            torch.compile(called) if self.recipe.compile else called,  # type: ignore[arg-type]
            self.optimizer,
            self.recipe,
            augmentation=self.augmentation,
            seed=self.seed,
            classes=self.spec.classes,
            mean=self.mean,
            std=self.std,
            class_weights=weights,
            micro_batch=self.micro_batch,
            average=self.average,
        )

    @cached_property
    def models(self) -> dict[str, nn.Module]:
        return {"network": self.network} | (
            {"average": self.average.module} if self.average is not None else {}
        )

    @property
    def measured(self) -> nn.Module:
        """What is scored and kept: the network, or the average of its weights."""
        return self.network if self.average is None else self.average.module

    def run(self, report: Report) -> None:
        held = self.snapshots.read() if self.snapshots else None
        if held is not None:
            self._restore(held)
            held = None  # tensors that the training has now
        # A report that was made before it was killed is made again: who hears it may be new.
        going_on = all(report(number, score.accuracy) for number, score in enumerate(self.curve, 1))
        while going_on and self.epoch <= self.recipe.epochs and not self.ended:
            self._train_epoch()
            self.curve.append(self._evaluate())
            going_on = report(len(self.curve), self.curve[-1].accuracy)
            self.epoch, self.done = self.epoch + 1, 0
            self._keep()
        if not going_on and self.epoch <= self.recipe.epochs:
            self.ended = "stopped"

    def rehearse(self, *, like: Ranks) -> None:
        """One step, to see whether memory holds it; `like`: as of several processes, whose
        gradients lie there twice.
        """
        buckets = [
            torch.empty_like(parameter) for parameter in self.network.parameters() if like.count > 1
        ]
        learn(self.network, self.start)
        chosen = self._order()[0]
        samples = chosen.to(self.device)
        images = self.seen.take(samples if self.seen.resident else chosen)
        self.step(images, self.seen.labels[samples], samples)
        self.step.total.item()
        del buckets

    def _train_epoch(self) -> None:
        side, strength = _stage(self.recipe, self.epoch, self.spec.resolution)
        if side != self.seen.side:
            self.captured = None  # its memory is free for the images
            self.optimizer.zero_grad(set_to_none=True)
        self.seen = seen = self.seen.at(side)
        order = self._order()
        chosen = order.to(self.device)
        read = chosen if seen.resident else order  # a streamed set is read by the host
        began, before = time.perf_counter(), self.seconds
        learn(self.network, self.start)
        self.step.epoch.fill_(self.epoch)
        self.step.strength.fill_(strength)
        for number in range(self.done, self.steps):
            samples = chosen[number]
            images, labels = seen.take(read[number]), seen.labels[samples]
            if number + 1 < self.steps:
                seen.prefetch(read[number + 1])
            set_rate(self.optimizer, self.recipe, step=self._step_number, steps=self.whole)
            self._step_for(images, labels, samples)(images, labels, samples)
            self._keep_pace()
            self.done += 1
            self.images += self.recipe.batch
            self.tick(self._step_number)
            self.seconds = before + time.perf_counter() - began
            if self._overdue():
                self.ended = "deadline"
                break
            self._keep()
        total = self.ranks.sum(
            self.step.total
        ).item()  # waits for the device, so the clock is right
        loss = total / (self.ranks.count * max(1, self.done))
        self.seconds = before + time.perf_counter() - began
        self.step.total.zero_()
        if not math.isfinite(loss):
            where = f"in epoch {self.epoch} of {self.recipe.epochs}"
            raise Diverged(f"the loss was {loss} {where}; lower the learning rate")

    def _evaluate(self) -> Score:
        return evaluate(
            self.measured,
            self.held,
            classes=self.spec.classes,
            mean=self.mean,
            std=self.std,
            ranks=self.ranks,
        )

    @property
    def _step_number(self) -> int:
        return (self.epoch - 1) * self.steps + self.done

    def _order(self) -> Tensor:
        """The samples of each step of this epoch that are this process's, (steps, batch /
        ranks).
        """
        generator = torch.Generator().manual_seed(seed_of(self.seed, "order", self.epoch))
        batch = self.recipe.batch
        order = torch.randperm(self.data.train, generator=generator)[: self.steps * batch].view(
            self.steps, batch
        )
        return order[:, self.ranks.rank :: self.ranks.count].contiguous()

    def _draw_apart(self) -> None:
        """Several processes drop other paths and units each; where a training goes on, others than
        before.
        """
        if self.ranks.count > 1:
            torch.manual_seed(seed_of(self.seed, "noise", self.ranks.rank, self._step_number))

    def _step_for(self, images: Tensor, labels: Tensor, samples: Tensor) -> TakeStep:
        """Captured once for each resolution; several processes, and what torch compiles, go step by
        step.
        """
        if not self.captures:
            return self.step
        if self.captured is not None and self.captured.takes(images):
            return self.captured
        restore = undoing(self.models, self.optimizer, self.device)
        taken = capture(self.step, images, labels, samples, restore=restore)
        self.captured = taken if isinstance(taken, CapturedStep) else None
        self.captures = self.captured is not None
        return taken

    def _keep_pace(self) -> None:
        """Let the host be a few steps ahead of a GPU and no more: clock, progress and snapshots are
        of what is done.
        """
        if self.device.type != "cuda":
            return
        self.under_way.append(torch.cuda.current_stream(self.device).record_event())
        if len(self.under_way) > _AHEAD:
            self.under_way.popleft().synchronize()

    def _overdue(self) -> bool:
        if self.recipe.minutes is None or (self.ranks.count > 1 and self.done % _AGREEING):
            return False
        return self.ranks.any(self.seconds >= 60 * self.recipe.minutes, device=self.device)

    def _keep(self) -> None:
        """Write a snapshot where one is due, and stop where that is asked for."""
        if self.snapshots is None or (self.ranks.count > 1 and self.done % _AGREEING):
            return
        due = self.snapshots.stop or (
            self.ranks.leads and self.snapshots.due
        )  # who writes knows when that was
        if not self.ranks.any(due, device=self.device):
            return
        stop = self.ranks.any(self.snapshots.stop, device=self.device)
        if self.ranks.leads:
            self.snapshots.write(
                tensors_of(self.models, self.optimizer, self.device) | {"total": self.step.total},
                {name: getattr(self, name) for name in _FACTS}
                | {"curve": [score.to_dict() for score in self.curve]},
            )
        if stop:
            raise Paused

    def _restore(self, held: Held) -> None:
        tensors, facts = held
        put_back(tensors, self.models, self.optimizer, self.device)
        self.step.total.copy_(tensors["total"])
        for name in _FACTS:
            setattr(self, name, facts[name])
        self.curve = [Score.from_dict(point) for point in facts["curve"]]
        self._draw_apart()


def _stage(recipe: Recipe, epoch: int, resolution: int) -> tuple[int, float]:
    """Resolution and strength of augmentation in an epoch: equal steps from the first to the last
    (algorithm 1 there).
    """
    stages = min(_STAGES, recipe.epochs)
    if recipe.progressive == 1 or stages == 1:
        return resolution, 1.0
    way = (epoch - 1) * stages // recipe.epochs / (stages - 1)
    least = recipe.progressive
    return max(1, round(resolution * (least + (1 - least) * way))), _FIRST_STRENGTH + (
        1 - _FIRST_STRENGTH
    ) * way


def _class_weights(counts: Sequence[int]) -> Tensor:
    """Inverse to the images of each class, and 1 on average over the images."""
    return sum(counts) / (len(counts) * torch.tensor(counts, dtype=torch.float32))
