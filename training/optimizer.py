"""Optimizer and learning-rate schedule of a recipe."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from experiment.config import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum 0.9, or AdamW. Weight decay spares norms and biases (everything of one dimension)."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    spared = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return torch.optim.SGD(groups, lr=recipe.learning_rate * recipe.batch / 256, momentum=0.9, nesterov=True, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, *, steps: int) -> LambdaLR:
    """Linear warm-up over the first `recipe.warmup` of `steps`, then a cosine to zero (Loshchilov, arXiv:1608.03983)."""
    warm = max(1, round(recipe.warmup * steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return LambdaLR(optimizer, factor)
