"""A running average of a network's weights: what is scored and kept where a recipe has `ema`."""

import copy
from itertools import compress

import torch
from torch import Tensor, nn


class Average:
    """`module` follows the weights and statistics of `network`; an update keeps 1 - 1/`horizon` of
    what it knew.

    It is part of a step, so that a captured graph holds it: few kernels for all tensors together,
    and none waits.
    """

    def __init__(self, network: nn.Module, *, horizon: float) -> None:
        self.module = copy.deepcopy(network)
        self._share = 1 / max(1.0, horizon)
        averages, values = _tensors(self.module), _tensors(network)
        floats, wholes = (
            [tensor.is_floating_point() is wanted for tensor in values] for wanted in (True, False)
        )
        self._averages, self._values = (
            [*compress(tensors, floats)] for tensors in (averages, values)
        )
        self._copies, self._counts = (
            [*compress(tensors, wholes)] for tensors in (averages, values)
        )

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self._averages, self._values, self._share)
        torch._foreach_copy_(self._copies, self._counts)  # how many batches each norm has seen


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in model.parameters()), *model.buffers()]
