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

    Args:
        network: the network that is trained.
        horizon: averaging horizon in steps. An update moves the average by 1/horizon towards the
            network.

    Attributes:
        module: a network with the averaged weights.
    """

    def __init__(self, network: nn.Module, *, horizon: float) -> None:
        self.module = copy.deepcopy(network)
        self._update_weight = 1 / max(1.0, horizon)
        average_tensors, network_tensors = _tensors(self.module), _tensors(network)
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

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after a step."""
        torch._foreach_lerp_(self._float_averages, self._float_values, self._update_weight)
        # the batch counts of batch norms (num_batches_tracked)
        torch._foreach_copy_(self._integer_averages, self._integer_values)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in model.parameters()), *model.buffers()]
