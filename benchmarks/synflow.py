"""Synflow of an untrained network, and a closed form of its logarithm.

Synflow (Tanaka et al., arXiv:2006.05467; as a score of networks: Abdelfattah et al.,
arXiv:2101.08134) is the sum of |weight * gradient| in the network with absolute weights, without
batch norm and activation functions, on an image of ones.

That network is linear, and its many weights are independent, so its maps are nearly constant. A
convolution multiplies them by the mean of |weight| times the number of inputs of one output. An
identity shortcut adds 1 to the factor of its block. Gates of squeeze-and-excitation are assumed to
be 1. The sum of |weight * gradient| of one layer is the output of the network, without the part
that bypasses the layer by a shortcut.
"""

import math
from functools import lru_cache

import torch
from torch import nn

from phinas.space.layers import Block, Conv, lower, output_resolution
from phinas.space.spec import ArchSpec


@lru_cache(maxsize=1 << 12)
def _mean_kernel_overlap(resolution: int, kernel: int, stride: int, *, same_padding: bool) -> float:
    """Mean number of kernel positions in one dimension that are inside the map, not in padding."""
    out_resolution = output_resolution(resolution, stride)
    padding = (
        max((out_resolution - 1) * stride + kernel - resolution, 0) // 2
        if same_padding
        else kernel // 2
    )
    starts = [index * stride - padding for index in range(out_resolution)]
    return sum(min(start + kernel, resolution) - max(start, 0) for start in starts) / out_resolution


def _gain(conv: Conv, resolution: int, *, same_padding: bool) -> float:
    """Factor by which a convolution multiplies a constant map of `resolution`.

    Its weights are initialized as in `phinas.space.pytorch.conv_net`.
    """
    mean_weight = math.sqrt(2 / math.pi) * math.sqrt(
        2 * conv.groups / (conv.kernel**2 * conv.out_width)
    )
    return (
        _mean_kernel_overlap(resolution, conv.kernel, conv.stride, same_padding=same_padding) ** 2
        * conv.in_width
        / conv.groups
        * mean_weight
    )


@lru_cache(maxsize=1 << 16)
def _block_gain(block: Block, resolution: int, *, same_padding: bool) -> tuple[float, float, int]:
    """The factor and the layers of a block.

    Returns:
        The logarithm of the factor by which the block multiplies a constant map; the number of its
        layers, each weighted by the fraction of the output that passes through it; and the output
        resolution.
    """
    shortcut_gain = 0.0
    layers = 0
    if block.shortcut:
        shortcut_gain = (
            _gain(block.projection, resolution, same_padding=same_padding)
            if block.projection
            else 1.0
        )
    conv_gain = 1.0
    for conv in block.convs:
        if not conv.pooled_input:
            conv_gain *= _gain(conv, resolution, same_padding=same_padding)
            resolution = output_resolution(resolution, conv.stride)
            layers += 1
    weighted_layers = layers * conv_gain + (shortcut_gain if block.projection else 0.0)
    return (
        math.log(conv_gain + shortcut_gain),
        weighted_layers / (conv_gain + shortcut_gain),
        resolution,
    )


def log_synflow(spec: ArchSpec) -> float:
    """Closed form of the logarithm of synflow, at the resolution of `spec`.

    It ignores the randomness of the initialization.
    """
    network, same_padding = lower(spec), spec.padding == "same"
    log_flow = math.log(_gain(network.stem, spec.resolution, same_padding=same_padding))
    resolution = output_resolution(spec.resolution, network.stem.stride)
    if network.stem_pool:
        resolution = output_resolution(resolution, 2)
    layers = 2.0  # stem and classifier
    for block in (block for blocks in network.stages for block in blocks):
        gain, weighted_layers, resolution = _block_gain(
            block, resolution, same_padding=same_padding
        )
        log_flow, layers = log_flow + gain, layers + weighted_layers
    if network.head:
        log_flow += math.log(_gain(network.head, resolution, same_padding=same_padding))
        layers += 1
    # The classifier's weights are uniform up to classes**-0.5, and its outputs are summed.
    return log_flow + math.log(spec.last_width * math.sqrt(spec.classes) / 2) + math.log(layers)


def measured_log_synflow(spec: ArchSpec) -> float:
    """Logarithm of the synflow of a network that is initialized with torch's global generator.

    Only for networks with SiLU. It is computed in float64, because the values are large. Gates of
    squeeze-and-excitation keep their sigmoid.
    """
    model = spec.build().double().eval()
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
