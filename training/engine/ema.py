"""A running average of a network's weights: what is scored and kept where a recipe has
`ema_fraction`.
"""

import copy
from itertools import compress

import torch
from torch import Tensor, nn


class ModelEma:
    """`module` follows the weights and statistics of `network`; an update keeps 1 - 1/`horizon` of
    what it knew.

    It is part of a step, so that a captured graph holds it: few kernels for all tensors together,
    and none waits.
    """

    def __init__(self, network: nn.Module, *, horizon: float) -> None:
        self.module = copy.deepcopy(network)
        self._update_weight = 1 / max(1.0, horizon)
        average_tensors, network_tensors = _tensors(self.module), _tensors(network)
        is_float, is_integer = (
            [tensor.is_floating_point() is wanted_kind for tensor in network_tensors]
            for wanted_kind in (True, False)
        )
        self._float_averages, self._float_values = (
            [*compress(tensors, is_float)] for tensors in (average_tensors, network_tensors)
        )
        self._integer_averages, self._integer_values = (
            [*compress(tensors, is_integer)] for tensors in (average_tensors, network_tensors)
        )

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self._float_averages, self._float_values, self._update_weight)
        # how many batches each norm has seen
        torch._foreach_copy_(self._integer_averages, self._integer_values)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in model.parameters()), *model.buffers()]
