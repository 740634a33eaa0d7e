"""The torch modules of lowered layers: `build(spec)` is the network that `cost(spec)` prices.

Symmetric padding, as in timm's `efficientnet_b*` and torchvision (TensorFlow pads unevenly at stride 2; sizes and cost
are the same). Initialisation as in the published code: normal with fan-out variance for convolutions, uniform for the
classifier. Stochastic depth as there too: block i of n is dropped with probability drop_path * i / n, shortcuts only.
"""

import torch
from torch import Tensor, nn

from space.layers import Block, Conv, lower
from space.spec import ArchSpec

_ACTIVATIONS = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
}


def _convolution(conv: Conv, *, eps: float, momentum: float) -> nn.Sequential:
    """A convolution, the batch norm that follows it and its activation, as far as it has them."""
    layer = nn.Conv2d(
        conv.in_width,
        conv.out_width,
        conv.kernel,
        stride=conv.stride,
        padding=conv.kernel // 2,
        groups=conv.groups,
        bias=not conv.norm,
    )
    module = nn.Sequential()
    module.add_module("conv", layer)
    if conv.norm:
        module.add_module("norm", nn.BatchNorm2d(conv.out_width, eps=eps, momentum=momentum))
    if conv.activation == "sigmoid":
        module.add_module("activation", nn.Sigmoid())
    elif conv.activation:
        module.add_module("activation", _ACTIVATIONS[conv.activation](inplace=True))
    return module


class MBConv(nn.Module):
    """One block: (N, C, H, W) to (N, C', H / stride, W / stride)."""

    def __init__(self, block: Block, *, drop_path: float, eps: float, momentum: float) -> None:
        super().__init__()
        self.shortcut = block.shortcut
        self.drop_path = drop_path
        for conv in block.convs:
            self.add_module(conv.role, _convolution(conv, eps=eps, momentum=momentum))

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for role, module in self.named_children():
            if role == "squeeze":
                gate = self.get_submodule("excite")(module(features.mean((2, 3), keepdim=True)))
                features = features * gate
            elif role != "excite":
                features = module(features)
        if not self.shortcut:
            return features
        if self.training and self.drop_path:
            kept = features.new_empty(len(features), 1, 1, 1).bernoulli_(1 - self.drop_path)
            features = features * (kept / (1 - self.drop_path))
        return features + images


class ConvNet(nn.Module):
    """The network of a spec: images (N, channels, resolution, resolution) to logits (N, classes)."""

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        network = lower(spec)
        norm = {"eps": spec.bn_eps, "momentum": spec.bn_momentum}
        self.stem = _convolution(network.stem, **norm)
        self.stages = nn.Sequential()
        index = 0
        for number, blocks in enumerate(network.stages, start=1):
            stage = nn.Sequential()
            for position, block in enumerate(blocks):
                rate = spec.drop_path * index / spec.depth
                stage.add_module(str(position), MBConv(block, drop_path=rate, **norm))
                index += 1
            self.stages.add_module(str(number), stage)
        self.head = _convolution(network.head, **norm)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.head_width, spec.classes)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        features = self.head(self.stages(self.stem(images))).mean((2, 3))
        return self.classifier(self.dropout(features))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels / module.groups
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.uniform_(module.weight, -(module.out_features**-0.5), module.out_features**-0.5)
        nn.init.zeros_(module.bias)


def build(spec: ArchSpec) -> ConvNet:
    """A freshly initialised network of `spec`, drawn from torch's current generator, on the current default device."""
    return ConvNet(spec)


def conv_linear_flops(spec: ArchSpec) -> int:
    """fvcore's `conv` + `linear` on the built network in eval mode: the independent witness of `cost(spec).flops`."""
    from fvcore.nn import FlopCountAnalysis

    with torch.random.fork_rng(devices=[]):
        model = build(spec).eval()
    images = torch.zeros(1, spec.channels, spec.resolution, spec.resolution)
    counted = FlopCountAnalysis(model, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = counted.by_operator()
    return int(by_operator["conv"] + by_operator["linear"])
