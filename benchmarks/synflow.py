"""Synflow, and its logarithm without a network: what an untrained network lets through, in
closed form.

Synflow (Tanaka et al., arXiv:2006.05467; as a score of networks: Abdelfattah et al., arXiv:2101.08134) is the sum of
|weight * gradient| in the network with absolute weights, no batch norm and no activation functions, on an image of ones. That
network is linear, its weights are many and drawn independently, so its maps are nearly constant:
every convolution multiplies them by what one output sums over times the mean of |weight|, a
shortcut adds one. Gates of squeeze-and-excitation are taken as open. Each layer's weights hand on
the whole output, except for the part that goes around them by a shortcut.
"""

import math
from functools import lru_cache

import torch
from torch import nn

from phinas.space.blocks import build
from phinas.space.layers import Block, Conv, lower, reduced
from phinas.space.spec import ArchSpec


@lru_cache(maxsize=1 << 12)
def _seen(side: int, kernel: int, stride: int, *, same: bool) -> float:
    """How many of a kernel's positions in a row lie in the map, the mean over the outputs."""
    outputs = reduced(side, stride)
    before = max((outputs - 1) * stride + kernel - side, 0) // 2 if same else kernel // 2
    starts = [index * stride - before for index in range(outputs)]
    return sum(min(start + kernel, side) - max(start, 0) for start in starts) / outputs


def _gain(conv: Conv, side: int, *, same: bool) -> float:
    """By what a convolution multiplies a constant map of `side` pixels, its weights drawn as
    `phinas.space.blocks` draws them.
    """
    mean_weight = math.sqrt(2 / math.pi) * math.sqrt(
        2 * conv.groups / (conv.kernel**2 * conv.out_width)
    )
    return (
        _seen(side, conv.kernel, conv.stride, same=same) ** 2
        * conv.in_width
        / conv.groups
        * mean_weight
    )


@lru_cache(maxsize=1 << 16)
def _block(block: Block, side: int, *, same: bool) -> tuple[float, float, int]:
    """The logarithm of a block's gain, how many of its layers the output passes through, and the
    side it hands on.
    """
    around = 0.0
    layers = 0
    if block.shortcut:
        around = _gain(block.projection, side, same=same) if block.projection else 1.0
    through = 1.0
    for conv in block.convs:
        if not conv.pooled:
            through *= _gain(conv, side, same=same)
            side = reduced(side, conv.stride)
            layers += 1
    passed = layers * through + (around if block.projection else 0.0)
    return math.log(through + around), passed / (through + around), side


def log_synflow(spec: ArchSpec) -> float:
    """The logarithm of the synflow that a network of `spec` has at its resolution, but for the luck
    of the draw.
    """
    network, same = lower(spec), spec.padding == "same"
    flow = math.log(_gain(network.stem, spec.resolution, same=same))
    side = reduced(spec.resolution, network.stem.stride)
    if network.stem_pool:
        side = reduced(side, 2)
    layers = 2.0  # stem and classifier
    for block in (block for blocks in network.stages for block in blocks):
        gain, passed, side = _block(block, side, same=same)
        flow, layers = flow + gain, layers + passed
    if network.head:
        flow, layers = flow + math.log(_gain(network.head, side, same=same)), layers + 1
    # The classifier's weights are uniform up to classes**-0.5, and its outputs are summed.
    return flow + math.log(spec.last_width * math.sqrt(spec.classes) / 2) + math.log(layers)


def drawn_log_synflow(spec: ArchSpec) -> float:
    """The same of a network drawn from torch's current generator: the proxy itself, for networks
    with SiLU.

    In double precision, for the numbers are large. Gates of squeeze-and-excitation keep their
    sigmoid.
    """
    model = build(spec).double().eval()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d | nn.SiLU):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    model(
        torch.ones(1, spec.channels, spec.resolution, spec.resolution, dtype=torch.float64)
    ).sum().backward()
    weights = [
        module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    return math.log(sum((weight.detach() * weight.grad).abs().sum().item() for weight in weights))
