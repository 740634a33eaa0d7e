"""What a training begins with: a network, drawn or loaded, frozen or not, and batch norms that
settle in time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from phinas.space.blocks import ConvNet, build
from phinas.space.spec import ArchSpec

_SETTLING, _LEFT = (
    0.2,
    0.01,
)  # of what a batch norm knew this share of the steps ago, so much counts at the end


@dataclass(frozen=True)
class Start:
    """prepare: called with the new network, to load weights; frozen: only the classifier learns,
    and batch norms keep the statistics that they have."""

    prepare: Callable[[ConvNet], None] = lambda _network: None
    frozen: bool = False


FRESH = Start()


def begin(spec: ArchSpec, start: Start, *, device: torch.device, steps: int) -> ConvNet:
    """The network on its device, channels last, drawn from torch's current generator; it will be
    trained for `steps`.

    Published networks have batch norms that average over hundreds of steps. Where a training is too
    short for that, they
    average over fewer: measured, a MobileNetV2 after 31 steps is right on 10% of ten classes
    without that.
    """
    network = build(spec)
    start.prepare(network)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start.frozen:
        network.requires_grad_(False)
        network.classifier.requires_grad_(True)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = max(spec.bn_momentum, least_momentum(steps))
    return network


def least_momentum(steps: int) -> float:
    """Of batch norms, so that after `steps` their statistics are those of the last fifth: 0.52 of
    31 steps, 0.01 of 2,300.
    """
    return 1 - _LEFT ** (1 / max(1.0, _SETTLING * steps))


def learn(network: ConvNet, start: Start) -> None:
    """Put the network into training mode: of a frozen one the classifier alone."""
    network.train(not start.frozen)
    if start.frozen:
        network.dropout.train()
        network.classifier.train()
