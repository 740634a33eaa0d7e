"""Exponential moving average (EMA) of a network's weights.

If a recipe has an `ema_fraction`, the average is evaluated and saved instead of the network.
"""

import copy
from itertools import compress

import torch
from torch import Tensor, nn


class ModelEma:
    """Moving average of the weights and batch-norm statistics of a network.

    An update is part of a train step and of its CUDA graph. So it launches few kernels, each for
    all tensors, and never synchronizes.

    The averaging horizon is a fraction of the steps so far. So the average is useful after each
    epoch, however long the training will be.

    Args:
        network: the network that is trained.
        fraction: averaging horizon as a fraction of the steps so far, from 0 to 1.
        capturable: whether a captured CUDA graph follows `set_step`. This needs more memory.

    Attributes:
        module: a network with the averaged weights.
    """

    def __init__(self, network: nn.Module, *, fraction: float, capturable: bool = False) -> None:
        self.module = copy.deepcopy(network)
        self._fraction = fraction
        average_tensors, network_tensors = _tensors(self.module), _tensors(network)
        self._update_weight: float | Tensor = (
            torch.ones((), device=network_tensors[0].device) if capturable else 1.0
        )
        is_float, is_integer = (
            [tensor.is_floating_point() is floating for tensor in network_tensors]
            for floating in (True, False)
        )
        self._float_averages, self._float_values = (
            [*compress(tensors, is_float)] for tensors in (average_tensors, network_tensors)
        )
        self._integer_averages, self._integer_values = (
            [*compress(tensors, is_integer)] for tensors in (average_tensors, network_tensors)
        )

    def set_step(self, step: int) -> None:
        """Set the number of the next step, from 0. Its update moves the average by 1/horizon
        towards the network, where the horizon is at least one step.
        """
        weight = 1 / max(1.0, self._fraction * (step + 1))
        if isinstance(self._update_weight, Tensor):
            self._update_weight.fill_(weight)
        else:
            self._update_weight = weight

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after a step."""
        if isinstance(self._update_weight, Tensor):
            differences = torch._foreach_sub(self._float_values, self._float_averages)
            torch._foreach_mul_(differences, self._update_weight)
            torch._foreach_add_(self._float_averages, differences)
        else:
            torch._foreach_lerp_(self._float_averages, self._float_values, self._update_weight)
        # the batch counts of batch norms (num_batches_tracked), which not every network has
        if self._integer_values:
            torch._foreach_copy_(self._integer_averages, self._integer_values)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in model.parameters()), *model.buffers()]
