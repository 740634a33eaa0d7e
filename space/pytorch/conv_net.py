"""The torch modules of lowered layers. `ArchSpec.build` makes a ConvNet.

Initialization and stochastic depth are those of EfficientNet's published code: weights of
convolutions are normal with fan-out variance, weights of the classifier uniform; block i of n, if
it has a shortcut, is dropped with probability drop_path * i / n.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from phinas.space.layers import Block, Conv, lower, output_resolution
from phinas.space.network_fields import NetworkFields
from phinas.space.pytorch.cpu_kernels import convolve, global_avg_pool

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "hard_swish": nn.Hardswish,
}


def _same_padding(images: Tensor, kernel: int, stride: int, *, value: float = 0.0) -> Tensor:
    """TensorFlow's padding: as much as ceil(size / stride) outputs need, an odd pixel at the bottom
    and the right.
    """
    pad_height, pad_width = (
        max((output_resolution(size, stride) - 1) * stride + kernel - size, 0)
        for size in images.shape[2:]
    )
    return functional.pad(
        images,
        (pad_width // 2, pad_width - pad_width // 2, pad_height // 2, pad_height - pad_height // 2),
        value=value,
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


class ConvNormAct(nn.Sequential):
    """A convolution, its batch norm if any, and its activation if any."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        features = input
        for module in self:
            features = (
                convolve(module, features) if isinstance(module, nn.Conv2d) else module(features)
            )
        return features


def _build_conv(conv: Conv, spec: NetworkFields) -> ConvNormAct:
    uses_same_padding = spec.padding == "same" and conv.kernel > 1
    layer = (SameConv2d if uses_same_padding else nn.Conv2d)(
        conv.in_width,
        conv.out_width,
        conv.kernel,
        stride=conv.stride,
        padding=0 if uses_same_padding else conv.kernel // 2,
        groups=conv.groups,
        bias=not conv.norm,
    )
    module = ConvNormAct()
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

    def __init__(self, block: Block, spec: NetworkFields, *, drop_path: float) -> None:
        super().__init__()
        self.has_shortcut = block.shortcut
        self.drop_path = drop_path
        self.layer_names = tuple(conv.name for conv in block.convs if conv.name != "excite")
        for conv in block.convs:
            self.add_module(conv.name, _build_conv(conv, spec))
        self.shortcut = _build_conv(block.projection, spec) if block.projection else nn.Identity()
        self.activation = _ACTIVATIONS[block.activation]() if block.activation else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for name in self.layer_names:
            module = self.get_submodule(name)
            if name == "squeeze":
                features = features * self.get_submodule("excite")(
                    module(global_avg_pool(features))
                )
            else:
                features = module(features)
        if self.has_shortcut:
            shortcut = self.shortcut(images)
            if self.training and self.drop_path:
                keep_mask = features.new_empty(len(features), 1, 1, 1).bernoulli_(
                    1 - self.drop_path
                ) / (1 - self.drop_path)
                features = torch.addcmul(shortcut, features, keep_mask)
            else:
                features = features + shortcut
        return self.activation(features)


class ConvNet(nn.Module):
    """The network of `spec`: images (N, channels, resolution, resolution) to logits (N, classes).

    Its weights are drawn from torch's current generator, on the current default device.
    """

    def __init__(self, spec: NetworkFields) -> None:
        super().__init__()
        network = lower(spec)
        self.stem = _build_conv(network.stem, spec)
        if network.stem_pool:
            self.stem.add_module(
                "pool", SameMaxPool2d() if spec.padding == "same" else nn.MaxPool2d(3, 2, padding=1)
            )
        self.stages = nn.Sequential()
        block_index = 0
        for stage_number, blocks in enumerate(network.stages, start=1):
            stage = nn.Sequential()
            for position, block in enumerate(blocks):
                stage.add_module(
                    str(position),
                    ConvBlock(block, spec, drop_path=spec.drop_path * block_index / spec.depth),
                )
                block_index += 1
            self.stages.add_module(str(stage_number), stage)
        self.head = _build_conv(network.head, spec) if network.head else nn.Identity()
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.last_width, spec.classes)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        features = self.head(self.stages(self.stem(images))).mean((2, 3))
        return self.classifier(self.dropout(features))

    def train(self, mode: bool = True) -> "ConvNet":
        """Set the mode. Some activations work in place in inference, which saves memory traffic; in
        training torch would copy their input first.
        """
        for module in self.modules():
            if isinstance(module, nn.SiLU | nn.Hardswish):
                module.inplace = not mode
        return super().train(mode)


def _initialize(module: nn.Module) -> None:
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


def conv_linear_flops(spec: NetworkFields) -> int:
    """fvcore's count of `conv` + `linear` on the built network in eval mode, independent of
    `ArchSpec.cost`.
    """
    from fvcore.nn import FlopCountAnalysis

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = ConvNet(spec).eval()
        images = torch.zeros(1, spec.channels, spec.resolution, spec.resolution)
        analysis = (
            FlopCountAnalysis(model, images)
            .unsupported_ops_warnings(False)
            .uncalled_modules_warnings(False)
        )
        flops_by_operator = analysis.by_operator()
    return int(flops_by_operator["conv"] + flops_by_operator["linear"])
