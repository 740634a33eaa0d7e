"""A residual network of your own, scaled by phinas:

phinas scale --baseline examples/resnet_builder.py:build --data digits --out runs/resnet

`depth` and `width` are factors of this network, and the function rounds them itself.
"""

from torch import Tensor, nn

STAGES = ((16, 1), (32, 2), (64, 2))  # channels and blocks


def conv(in_width: int, out_width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution and its batch norm."""
    layer = nn.Conv2d(in_width, out_width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out_width))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(in_width, out_width, 3, stride), nn.ReLU(), conv(out_width, out_width, 3)
        )
        is_same = stride == 1 and in_width == out_width
        self.shortcut = nn.Identity() if is_same else conv(in_width, out_width, 1, stride)

    def forward(self, images: Tensor) -> Tensor:
        return (self.layers(images) + self.shortcut(images)).relu()


def build(
    *,
    depth: float,
    width: float,
    resolution: int,  # noqa: ARG001 - the network takes images of any size
    classes: int,
    channels: int,
) -> nn.Module:
    """The network, from images (N, channels, resolution, resolution) to logits (N, classes)."""
    widths = [max(8, round(width * stage_width / 8) * 8) for stage_width, _ in STAGES]
    layers: list[nn.Module] = [conv(channels, widths[0], 3), nn.ReLU()]
    in_width = widths[0]
    for number, (out_width, (_, blocks)) in enumerate(zip(widths, STAGES, strict=True)):
        for block in range(max(1, round(depth * blocks))):
            layers.append(Block(in_width, out_width, 2 if number and not block else 1))
            in_width = out_width
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, pool, nn.Linear(in_width, classes))
