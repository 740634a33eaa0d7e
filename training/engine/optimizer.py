"""Optimizer and learning-rate schedule of a recipe."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from phinas.experiment.schema.config import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum 0.9, AdamW, or the paper's RMSProp. Weight decay spares norms and
    biases (everything of one dimension). On a GPU the learning rate is a tensor there, so that a
    captured CUDA graph sees it change."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trainable if parameter.ndim > 1],
            "weight_decay": recipe.weight_decay,
        },
        {
            "params": [parameter for parameter in trainable if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    device = trainable[0].device
    peak_rate = peak_learning_rate(recipe)
    rate = torch.tensor(peak_rate, device=device) if device.type == "cuda" else peak_rate
    if recipe.optimizer == "adamw":
        adamw = torch.optim.AdamW(groups, lr=rate, fused=True, capturable=device.type == "cuda")
        adamw._warned_capturable_if_run_uncaptured = True  # steps before a capture are meant
        return adamw
    if recipe.optimizer == "rmsprop":
        return RMSpropTF(groups, lr=rate)
    return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, fused=True)


def peak_learning_rate(recipe: Recipe) -> float:
    """The highest learning rate; but for AdamW it grows with the batch (Goyal et al.,
    arXiv:1706.02677).
    """
    return recipe.learning_rate * (1.0 if recipe.optimizer == "adamw" else recipe.batch_size / 256)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, recipe: Recipe, *, step: int, steps: int
) -> None:
    """The learning rate of step `step` (from 0) of `steps`."""
    rate = peak_learning_rate(recipe) * learning_rate_factor(recipe, step=step, steps=steps)
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def learning_rate_factor(recipe: Recipe, *, step: int, steps: int) -> float:
    """Linear warm-up over the first `recipe.warmup_fraction` of the steps, then a cosine to zero
    (Loshchilov, arXiv:1608.03983).
    """
    warmup_steps = max(1, round(recipe.warmup_fraction * steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


class RMSpropTF(torch.optim.Optimizer):
    """RMSProp as EfficientNet and MnasNet were trained: momentum of what was scaled, epsilon inside
    the root, squares from one.

    torch's own has epsilon outside of the root and begins at zero, which at epsilon 0.001 is
    another optimizer.
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
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update_parameter(parameter, parameter.grad, group)

    def _update_parameter(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["square"], state["velocity"] = (
                torch.ones_like(parameter),
                torch.zeros_like(parameter),
            )
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state["square"].lerp_(gradient.square(), 1 - group["decay"])
        scaled = gradient * (state["square"] + group["epsilon"]).rsqrt() * group["lr"]
        parameter.sub_(state["velocity"].mul_(group["momentum"]).add_(scaled))


def reset_state(optimizer: torch.optim.Optimizer) -> None:
    """Put the state of every parameter back to what it is before the first step, in place."""
    for state in optimizer.state.values():
        for name, tensor in state.items():
            tensor.fill_(1.0 if name == "square" else 0.0)
