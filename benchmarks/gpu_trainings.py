"""Trainings of the GPU check: a search space, and a training on random images, step by step."""

from collections.abc import Callable
from functools import cache

import torch
from loops import CLASSES, PAD, Workload
from torch import Tensor, nn

from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import read_yaml
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine.checkpoint import make_state_restorer
from phinas.training.engine.ema import ModelEma
from phinas.training.engine.optimizer import make_optimizer, set_learning_rate
from phinas.training.engine.train_step import CudaGraphStep, TrainStep, TrainStepFn
from phinas.training.request import TrainingRequest, TrainingSettings

_SCHEDULE_STEPS = 100  # total steps that the learning-rate schedule assumes
_STEPS_PER_EPOCH = 4


@cache
def small_images_space() -> SearchSpace:
    """The shipped search space `small_images` with the number of classes of the random images."""
    space_dict = read_yaml(SPACES["small_images"])
    base = space_dict["base"] | {"classes": CLASSES}
    return space_from_dict(space_dict | {"base": base})


class NoiseTraining:
    """A training on random images, one step a call.

    As in `phinas.training.engine.trainer.Trainer`, the epoch, the strength of the augmentation and
    the learning rate change between the steps.
    """

    def __init__(
        self,
        spec: ArchSpec,
        recipe: Recipe,
        *,
        num_images: int,
        device: torch.device,
        use_cuda_graph: bool,
        seed: int = 0,
        step_class: type[TrainStep] = TrainStep,
    ) -> None:
        pixels, labels = Workload("", spec.resolution, recipe.known_batch_size, num_images).pixels()
        torch.manual_seed(seed)
        self.network = spec.build().to(device, memory_format=torch.channels_last).train()
        self.optimizer = make_optimizer(self.network, recipe)
        self.ema = (
            ModelEma(self.network, fraction=recipe.ema_fraction, capturable=device.type == "cuda")
            if recipe.ema_fraction
            else None
        )
        self.train_step = self._make_train_step(step_class, spec, recipe, device=device, seed=seed)
        self._recipe, self._device = recipe, device
        self._train_data = ImageBatches(
            pixels, labels, resolution=spec.resolution, device=device, resident=True
        )
        steps = num_images // recipe.known_batch_size
        self._order = torch.arange(steps * recipe.known_batch_size, device=device).view(steps, -1)
        self._use_cuda_graph = use_cuda_graph and device.type == "cuda"
        self._step_fn: TrainStepFn | None = None
        self._num_steps = 0

    def _make_train_step(
        self,
        step_class: type[TrainStep],
        spec: ArchSpec,
        recipe: Recipe,
        *,
        device: torch.device,
        seed: int,
    ) -> TrainStep:
        quarter = torch.full((1, 3, 1, 1), 0.25, device=device)
        class_weights = torch.linspace(0.5, 1.5, CLASSES, device=device)
        settings = TrainingSettings(max_shift=PAD / spec.resolution, horizontal_flip=True)
        return step_class(
            self.network,
            self.optimizer,
            TrainingRequest(spec, recipe, seed, settings),
            mean=2 * quarter,
            std=quarter,
            class_weights=class_weights if recipe.class_balanced_loss else None,
            micro_batch_size=recipe.micro_batch_size or recipe.known_batch_size,
            ema=self.ema,
        )

    @property
    def models(self) -> dict[str, nn.Module]:
        return {"network": self.network} | ({"ema": self.ema.module} if self.ema else {})

    def first_batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels and sample indices of the first batch."""
        return self._batch(0)

    def run_step(self) -> None:
        """Run one training step; the first one also captures the CUDA graph."""
        batch = self._batch(self._num_steps)
        self.train_step.epoch.fill_(1 + self._num_steps // _STEPS_PER_EPOCH)
        self.train_step.strength.fill_(min(1.0, 0.3 + self._num_steps / 20))
        set_learning_rate(self.optimizer, self._recipe, step=self._num_steps, steps=_SCHEDULE_STEPS)
        if self.ema is not None:
            self.ema.set_step(self._num_steps)
        if self._step_fn is None:
            self._step_fn = self._make_step_fn(batch)
        self._step_fn(*batch)
        self._num_steps += 1

    def state(self) -> list[Tensor]:
        """Weights and buffers that would be evaluated (the average, if the recipe has one)."""
        model = self.ema.module if self.ema else self.network
        return [tensor.detach().double().cpu() for tensor in model.state_dict().values()]

    def make_restorer(self) -> Callable[[], None]:
        """Function that restores the current state of the training in place."""
        return make_state_restorer(self.models, self.optimizer, self._device)

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        samples = self._order[step % len(self._order)]
        return self._train_data.take(samples), self._train_data.labels[samples], samples

    def _make_step_fn(self, batch: tuple[Tensor, Tensor, Tensor]) -> TrainStepFn:
        if not self._use_cuda_graph:
            return self.train_step
        return CudaGraphStep(self.train_step, *batch, restore=self.make_restorer())
