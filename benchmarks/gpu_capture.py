"""Correctness of captured training steps: equal to eager ones, and a capture that fails."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from gpu_measurement import CheckContext, describe_error
from gpu_trainings import NoiseTraining, small_images_space
from torch import Tensor

from phinas.experiment.schema.config import Recipe
from phinas.space.spec import ArchSpec
from phinas.training.engine.device import set_determinism
from phinas.training.engine.train_step import TrainStep, capture

_BATCHES = 4
_ALL_AUGMENTATIONS = {
    "mixup": 0.2,
    "cutmix": 1.0,
    "randaugment_magnitude": 0.4,
    "min_crop_area": 0.5,
    "cutout_size": 0.3,
    "initial_resolution_fraction": 0.5,
}
# Changes of the default recipe, and of the network
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "dropout and stochastic depth": ({}, {"dropout": 0.2, "drop_path": 0.2}),
    "all augmentations, EMA and class weights": (
        _ALL_AUGMENTATIONS | {"ema_fraction": 0.1, "class_balanced_loss": True},
        {"dropout": 0.2},
    ),
    "AdamW with micro-batches": (
        {"optimizer": "adamw", "learning_rate": 0.002, "micro_batch_size": 40},
        {},
    ),
    "RMSProp": ({"optimizer": "rmsprop", "learning_rate": 0.02}, {}),
    "fp32": ({"precision": "fp32"}, {}),
}


def equivalence(context: CheckContext) -> None:
    """Compare captured steps with eager ones, and eager ones with a second eager run.

    All three runs have the same weights, images and random numbers, and deterministic algorithms.

    Raises:
        RuntimeError: If a case raises an error. Differences are recorded and never an error.
    """
    set_determinism(deterministic=True)
    base = replace(small_images_space().base, dropout=0.0, drop_path=0.0)
    if context.small:
        base = replace(base, resolution=16)
    batch_size = 48 if context.small else 96  # the micro-batches of one case have at most 40 images
    failed_cases = []
    for name, (recipe_changes, spec_changes) in CASES.items():
        try:
            recipe = Recipe.model_validate({"batch_size": batch_size} | recipe_changes)
            spec = replace(base, **spec_changes)
            context.record("equivalence", case=name, **_compare(context, spec, recipe))
        except Exception as error:
            # The other cases are still of interest.
            context.record("equivalence", case=name, error=describe_error(error))
            traceback.print_exc()
            failed_cases.append(name)
    if failed_cases:
        raise RuntimeError(f"cases that failed: {', '.join(failed_cases)}")


def _compare(context: CheckContext, spec: ArchSpec, recipe: Recipe) -> dict[str, Any]:
    """Largest differences of losses and weights between the runs."""
    eager, repeated, captured = (
        _run_steps(context, spec, recipe, use_cuda_graph=use_cuda_graph)
        for use_cuda_graph in (False, False, True)
    )
    losses = eager[0]
    result: dict[str, Any] = {
        "cuda_graph": context.is_cuda,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "finite": bool(torch.tensor(losses).isfinite().all()),
    }
    for name, run in (("eager", repeated), ("captured", captured)):
        loss_pairs = zip(run[0], losses, strict=True)
        weight_pairs = zip(run[1], eager[1], strict=True)
        result[f"{name}_max_loss_difference"] = max(abs(a - b) for a, b in loss_pairs)
        result[f"{name}_max_weight_difference"] = max(
            float((a - b).abs().max()) for a, b in weight_pairs
        )
    return result


def _run_steps(
    context: CheckContext, spec: ArchSpec, recipe: Recipe, *, use_cuda_graph: bool
) -> tuple[list[float], list[Tensor]]:
    """Loss of each step, and the weights after the last one."""
    training = NoiseTraining(
        spec,
        recipe,
        num_images=_BATCHES * recipe.known_batch_size,
        device=context.device,
        use_cuda_graph=use_cuda_graph,
    )
    torch.manual_seed(1)  # for dropout and stochastic depth
    losses = []
    for _ in range(2 if context.small else 12):
        training.run_step()
        losses.append(training.train_step.loss_sum.item())
        training.train_step.loss_sum.zero_()
    return losses, training.state()


class _UncapturableStep(TrainStep):
    """A step that reads a value from the device while it is captured, which CUDA forbids."""

    def __call__(self, images: Tensor, labels: Tensor, samples: Tensor) -> None:
        super().__call__(images, labels, samples)
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            self.loss_sum.item()


def failed_capture(context: CheckContext) -> None:
    """Let a capture fail, and record whether eager steps and a new capture work afterwards.

    A failed capture may leave the CUDA context unusable, so this part runs in a separate process.
    """
    set_determinism(deterministic=False)
    spec = replace(small_images_space().base, dropout=0.2)
    recipe = Recipe(batch_size=64)

    def new_training(step_class: type[TrainStep] = TrainStep) -> NoiseTraining:
        return NoiseTraining(
            spec,
            recipe,
            num_images=_BATCHES * recipe.known_batch_size,
            device=context.device,
            use_cuda_graph=True,
            step_class=step_class,
        )

    training = new_training(_UncapturableStep)
    batch, restore = training.first_batch(), training.make_restorer()

    def try_capture() -> None:
        capture(training.train_step, *batch, restore=restore)

    actions: dict[str, Callable[[], object]] = {
        "failed_capture": try_capture,
        "eager_step": lambda: training.train_step(*batch),
        "empty_cache": torch.cuda.empty_cache,
        "next_capture": lambda: new_training().run_step(),
    }
    outcomes = {}
    for name, action in actions.items():
        try:
            outcomes[name] = action() or "ok"
            context.synchronize()
        except Exception as error:
            # An error here is a result of the check.
            outcomes[name] = describe_error(error)
    context.record("failed_capture", **outcomes)
