"""Optimizers and the learning-rate schedule."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from phinas.experiment.schema.config import Recipe
from phinas.training.engine.initialization import require_conv_net

_RATE_FACTOR = "rate_factor"  # of a parameter group: its learning rate as a fraction of the peak


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the optimizer of a recipe: SGD with Nesterov momentum 0.9, AdamW or `RMSpropTF`.

    Weight decay does not apply to norms and biases (parameters of one dimension). On a GPU the
    learning rates are tensors on the device, so that a captured CUDA graph reads their changes.

    Raises:
        InputError: the recipe has another learning rate for the backbone, and the classifier of the
            network is unknown.
    """
    groups = _parameter_groups(model, recipe)
    device = groups[0]["params"][0].device
    peak_rate = peak_learning_rate(recipe)
    rate = torch.tensor(peak_rate, device=device) if device.type == "cuda" else peak_rate
    if device.type == "cuda":  # else all groups would share one tensor
        for group in groups:
            group["lr"] = torch.tensor(peak_rate * group[_RATE_FACTOR], device=device)
    if recipe.optimizer == "adamw":
        adamw = torch.optim.AdamW(groups, lr=rate, fused=True, capturable=device.type == "cuda")
        adamw._warned_capturable_if_run_uncaptured = True  # steps before a capture are intended
        return adamw
    if recipe.optimizer == "rmsprop":
        return RMSpropTF(groups, lr=rate)
    # If a scaled loss overflows in the first step, which is skipped, torch's fused SGD does not
    # initialize its momentum (torch 2.13).
    fused = recipe.precision != "fp16"
    return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, fused=fused)


def _parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the trainable parameters with their weight decay and learning-rate factor."""
    parts = [([*model.parameters()], 1.0)]
    if recipe.backbone_learning_rate_factor != 1:
        network = require_conv_net(model, key="recipe.backbone_learning_rate_factor")
        classifier = [*network.classifier.parameters()]
        ids = {id(parameter) for parameter in classifier}
        backbone = [parameter for parameter in model.parameters() if id(parameter) not in ids]
        parts = [(backbone, recipe.backbone_learning_rate_factor), (classifier, 1.0)]
    groups = [
        {
            "params": [
                parameter
                for parameter in parameters
                if parameter.requires_grad and (parameter.ndim > 1) is decays
            ],
            "weight_decay": recipe.weight_decay if decays else 0.0,
            _RATE_FACTOR: factor,
        }
        for parameters, factor in parts
        for decays in (True, False)
    ]
    return [group for group in groups if group["params"]]


def peak_learning_rate(recipe: Recipe) -> float:
    """Return the highest learning rate of the schedule.

    It is `recipe.learning_rate` times the batch size over 256 (Goyal et al., arXiv:1706.02677). For
    AdamW it is `recipe.learning_rate`.
    """
    return recipe.learning_rate * (
        1.0 if recipe.optimizer == "adamw" else recipe.known_batch_size / 256
    )


def set_learning_rate(
    optimizer: torch.optim.Optimizer, recipe: Recipe, *, step: int, steps: int
) -> None:
    """Set the learning rates for train step `step`, from 0 to `steps` - 1."""
    rate = peak_learning_rate(recipe) * learning_rate_factor(recipe, step=step, steps=steps)
    for group in optimizer.param_groups:
        group_rate = rate * group[_RATE_FACTOR]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group_rate)
        else:
            group["lr"] = group_rate


def learning_rate_factor(recipe: Recipe, *, step: int, steps: int) -> float:
    """Return the learning rate as a fraction of its peak.

    It rises linearly over the first `recipe.warmup_fraction` of the steps. Then it is constant, or
    falls to zero like a cosine (Loshchilov and Hutter, arXiv:1608.03983).
    """
    warmup_steps = max(1, round(recipe.warmup_fraction * steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if recipe.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


class RMSpropTF(torch.optim.Optimizer):
    """TensorFlow's RMSProp, with which EfficientNet and MnasNet were trained.

    Momentum accumulates gradients that are already scaled by the learning rate. Epsilon is inside
    the square root, and the mean squares start at one. In torch's RMSprop epsilon is outside the
    square root and the mean squares start at zero, which gives very different steps for an epsilon
    of 0.001.
    """

    def __init__(
        self,
        groups: Iterable[Any],
        *,
        lr: float | Tensor,
        decay: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1e-3,
    ) -> None:
        super().__init__(
            groups,
            {
                "lr": lr,
                "decay": decay,
                "momentum": momentum,
                "epsilon": epsilon,
                "weight_decay": 0.0,
            },
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's signature
        for group in self.param_groups:
            parameters = [item for item in group["params"] if item.grad is not None]
            if parameters:
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update all parameters of a group together, in a few operators on a GPU."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "square": torch.ones_like(parameter),
                    "velocity": torch.zeros_like(parameter),
                }
        squares = [self.state[parameter]["square"] for parameter in parameters]
        velocities = [self.state[parameter]["velocity"] for parameter in parameters]
        gradients = [item.grad for item in parameters if item.grad is not None]
        if group["weight_decay"]:
            decay = group["weight_decay"]
            gradients = [*torch._foreach_add(gradients, parameters, alpha=decay)]
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - group["decay"])
        scaled = torch._foreach_add(squares, group["epsilon"])
        torch._foreach_rsqrt_(scaled)
        torch._foreach_mul_(scaled, gradients)
        torch._foreach_mul_(scaled, group["lr"])
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, scaled)
        torch._foreach_sub_(parameters, velocities)


def reset_state(optimizer: torch.optim.Optimizer) -> None:
    """Reset the optimizer state of every parameter, in place, to its values before training."""
    for state in optimizer.state.values():
        for name, tensor in state.items():
            tensor.fill_(1.0 if name == "square" else 0.0)
