"""The torch modules of lowered layers: `build(spec)` is the network that `cost(spec)` prices.

Initialisation as in EfficientNet's published code: normal with fan-out variance for convolutions,
uniform for the classifier. Stochastic depth as there too: block i of n is dropped with probability
drop_path * i / n, shortcuts only.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from phinas.space.cpu_kernels import convolve, mean_pixel
from phinas.space.layers import Block, Conv, lower, reduced
from phinas.space.spec import ArchSpec

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "hard_swish": nn.Hardswish,
}


def _same_padding(images: Tensor, kernel: int, stride: int, *, value: float = 0.0) -> Tensor:
    """TensorFlow's padding: what ceil(side / stride) outputs need, the odd pixel below and to the
    right.
    """
    high, wide = (
        max((reduced(side, stride) - 1) * stride + kernel - side, 0) for side in images.shape[2:]
    )
    return functional.pad(
        images, (wide // 2, wide - wide // 2, high // 2, high - high // 2), value=value
    )


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        return super().forward(_same_padding(input, self.kernel_size[0], self.stride[0]))


class SameMaxPool2d(nn.MaxPool2d):
    """A 3x3 max pooling of stride 2 with TensorFlow's padding."""

    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        return super().forward(_same_padding(input, 3, 2, value=float("-inf")))


class Layer(nn.Sequential):
    """A convolution, the batch norm that follows it and its activation, as far as it has them."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        features = input
        for module in self:
            features = (
                convolve(module, features) if isinstance(module, nn.Conv2d) else module(features)
            )
        return features


def _convolution(conv: Conv, spec: ArchSpec) -> Layer:
    same = spec.padding == "same" and conv.kernel > 1
    layer = (SameConv2d if same else nn.Conv2d)(
        conv.in_width,
        conv.out_width,
        conv.kernel,
        stride=conv.stride,
        padding=0 if same else conv.kernel // 2,
        groups=conv.groups,
        bias=not conv.norm,
    )
    module = Layer()
    module.add_module("conv", layer)
    if conv.norm:
        module.add_module(
            "norm", nn.BatchNorm2d(conv.out_width, eps=spec.bn_eps, momentum=spec.bn_momentum)
        )
    if conv.activation == "sigmoid":
        module.add_module("activation", nn.Sigmoid())
    elif conv.activation:
        module.add_module("activation", _ACTIVATIONS[conv.activation]())
    return module


class ConvBlock(nn.Module):
    """One block of any kind: (N, C, H, W) to (N, C', H / stride, W / stride)."""

    def __init__(self, block: Block, spec: ArchSpec, *, drop_path: float) -> None:
        super().__init__()
        self.adds_input = block.shortcut
        self.drop_path = drop_path
        self.roles = tuple(conv.role for conv in block.convs if conv.role != "excite")
        for conv in block.convs:
            self.add_module(conv.role, _convolution(conv, spec))
        self.shortcut = _convolution(block.projection, spec) if block.projection else nn.Identity()
        self.activation = _ACTIVATIONS[block.activation]() if block.activation else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for role in self.roles:
            module = self.get_submodule(role)
            if role == "squeeze":
                features = features * self.get_submodule("excite")(module(mean_pixel(features)))
            else:
                features = module(features)
        if self.adds_input:
            shortcut = self.shortcut(images)
            if self.training and self.drop_path:
                kept = features.new_empty(len(features), 1, 1, 1).bernoulli_(1 - self.drop_path) / (
                    1 - self.drop_path
                )
                features = torch.addcmul(shortcut, features, kept)
            else:
                features = features + shortcut
        return self.activation(features)


class ConvNet(nn.Module):
    """The network of a spec: images (N, channels, resolution, resolution) to logits (N,
    classes).
    """

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        network = lower(spec)
        self.stem = _convolution(network.stem, spec)
        if network.stem_pool:
            self.stem.add_module(
                "pool", SameMaxPool2d() if spec.padding == "same" else nn.MaxPool2d(3, 2, padding=1)
            )
        self.stages = nn.Sequential()
        index = 0
        for number, blocks in enumerate(network.stages, start=1):
            stage = nn.Sequential()
            for position, block in enumerate(blocks):
                stage.add_module(
                    str(position),
                    ConvBlock(block, spec, drop_path=spec.drop_path * index / spec.depth),
                )
                index += 1
            self.stages.add_module(str(number), stage)
        self.head = _convolution(network.head, spec) if network.head else nn.Identity()
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.last_width, spec.classes)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        features = self.head(self.stages(self.stem(images))).mean((2, 3))
        return self.classifier(self.dropout(features))

    def train(self, mode: bool = True) -> "ConvNet":
        """In place, these activations save memory traffic in inference; in training torch copies
        their input first.
        """
        for module in self.modules():
            if isinstance(module, nn.SiLU | nn.Hardswish):
                module.inplace = not mode
        return super().train(mode)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = (
            module.kernel_size[0] * module.kernel_size[1] * module.out_channels / module.groups
        )
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.uniform_(module.weight, -(module.out_features**-0.5), module.out_features**-0.5)
        nn.init.zeros_(module.bias)


def build(spec: ArchSpec) -> ConvNet:
    """A freshly initialised network of `spec`, drawn from torch's current generator, on the current
    default device.
    """
    return ConvNet(spec)


def conv_linear_flops(spec: ArchSpec) -> int:
    """fvcore's `conv` + `linear` on the built network in eval mode: the independent witness of
    `cost(spec).flops`.
    """
    from fvcore.nn import FlopCountAnalysis

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = build(spec).eval()
        images = torch.zeros(1, spec.channels, spec.resolution, spec.resolution)
        counted = (
            FlopCountAnalysis(model, images)
            .unsupported_ops_warnings(False)
            .uncalled_modules_warnings(False)
        )
        by_operator = counted.by_operator()
    return int(by_operator["conv"] + by_operator["linear"])
