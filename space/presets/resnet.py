"""ResNet as published."""

from typing import Any

from phinas.space.presets.published_network import PublishedStageList


def _source(name: str) -> str:
    return f"ResNet, arXiv:1512.03385, table 1; numbers: torchvision's {name}_Weights"


def _basic_stages(*depths: int) -> tuple[tuple[Any, ...], ...]:
    """width, depth, kernel, stride, expansion (no effect), se"""
    widths, strides = (64, 128, 256, 512), (1, 2, 2, 2)
    rows = zip(widths, depths, strides, strict=True)
    return tuple((width, depth, 3, stride, 6, 0) for width, depth, stride in rows)


# width, depth, kernel, stride, expansion, se
# The stride is the 3x3 convolution's, as in torchvision and timm. In the paper it is the first
# 1x1's, and the network has 3.8B FLOPs.
_RESNET_50_STAGES = (
    (256, 3, 3, 1, 4, 0),
    (512, 4, 3, 2, 4, 0),
    (1024, 6, 3, 2, 4, 0),
    (2048, 3, 3, 2, 4, 0),
)

_NETWORK_FIELDS = {
    "activation": "relu",
    "stem_width": 64,
    "stem_kernel": 7,
    "stem_pool": True,
    "head_width": 0,
    "bn_eps": 1e-5,
    "bn_momentum": 0.1,
}

# source, params, FLOPs, resolution, dropout, block, stages, network fields
RESNET = {
    "resnet_18": PublishedStageList(
        _source("ResNet18"),
        "11.690M",
        "1.814B",
        224,
        0.0,
        "basic",
        _basic_stages(2, 2, 2, 2),
        _NETWORK_FIELDS,
    ),
    "resnet_34": PublishedStageList(
        _source("ResNet34"),
        "21.798M",
        "3.664B",
        224,
        0.0,
        "basic",
        _basic_stages(3, 4, 6, 3),
        _NETWORK_FIELDS,
    ),
    "resnet_50": PublishedStageList(
        _source("ResNet50"),
        "25.557M",
        "4.089B",
        224,
        0.0,
        "bottleneck",
        _RESNET_50_STAGES,
        _NETWORK_FIELDS,
    ),
}
