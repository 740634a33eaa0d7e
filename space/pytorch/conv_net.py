"""The torch modules of lowered layers. `ArchSpec.build` makes a ConvNet.

Initialization and stochastic depth are those of EfficientNet's published code: weights of
convolutions are normal with fan-out variance, weights of the classifier uniform; block i of n, if
it has a shortcut, is dropped with probability drop_path * i / n.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]
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


def _at_least_zero(size: int) -> int:
    if isinstance(size, Tensor):  # while torch.jit traces
        return size.clamp(min=0)
    return max(size, 0)


def _same_padding(images: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """TensorFlow's padding: as much as ceil(size / stride) outputs need, an odd pixel at the bottom
    and the right.
    """
    height, width = images.shape[2], images.shape[3]
    pad_height = _at_least_zero((output_resolution(height, stride) - 1) * stride + kernel - height)
    pad_width = _at_least_zero((output_resolution(width, stride) - 1) * stride + kernel - width)
    return functional.pad(
        images,
        [pad_width // 2, pad_width - pad_width // 2, pad_height // 2, pad_height - pad_height // 2],
        value=value,
    )


# torch.fx cannot trace the arithmetic of the sizes: a call is one node of its graph.
torch.fx.wrap("_same_padding")


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        padded = _same_padding(input, self.kernel_size[0], self.stride[0])
        return self._conv_forward(padded, self.weight, self.bias)


class SameMaxPool2d(nn.MaxPool2d):
    """A 3x3 max pooling of stride 2 with TensorFlow's padding."""

    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        return functional.max_pool2d(_same_padding(input, 3, 2, float("-inf")), 3, 2)


class ConvNormAct(nn.Sequential):
    """A convolution, its batch norm if any, and its activation if any."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        features = input
        if is_scripting():
            for module in self:
                features = module(features)
        else:
            for module in self:
                if isinstance(module, nn.Conv2d):
                    features = convolve(module, features)
                else:
                    features = module(features)
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
        features = self._run_layers(images)
        if self.has_shortcut:
            shortcut = self.shortcut(images)
            if self.training and self.drop_path > 0:
                keep_mask = features.new_empty([features.shape[0], 1, 1, 1])
                keep_mask.bernoulli_(1 - self.drop_path).div_(1 - self.drop_path)
                features = torch.addcmul(shortcut, features, keep_mask)
            else:
                features = features + shortcut
        return self.activation(features)

    def _run_layers(self, images: Tensor) -> Tensor:
        features = squeezed = images
        if is_scripting():  # TorchScript cannot look up a module by its name
            for name, module in self.named_children():
                if name == "squeeze":
                    squeezed = module(features.mean([2, 3], keepdim=True))
                elif name == "excite":
                    features = features * module(squeezed)
                elif name != "shortcut" and name != "activation":
                    features = module(features)
        else:
            for name in self.layer_names:
                module = self.get_submodule(name)
                if name == "squeeze":
                    squeezed = module(global_avg_pool(features))
                    features = features * self.get_submodule("excite")(squeezed)
                else:
                    features = module(features)
        return features


def last_norm(block: ConvBlock) -> nn.BatchNorm2d:
    """The batch norm of a block's last layer, before the shortcut is added."""
    norm = block.get_submodule(f"{block.layer_names[-1]}.norm")
    assert isinstance(norm, nn.BatchNorm2d)
    return norm


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


def scale_regularization(network: ConvNet, factor: float) -> None:
    """Multiply the probabilities of dropout and stochastic depth, which a spec sets at first."""
    network.dropout.p *= factor
    for block in network.modules():
        if isinstance(block, ConvBlock):
            block.drop_path *= factor


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
