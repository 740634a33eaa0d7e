"""ResNet as published."""

from phinas.space.presets.published_network import PublishedStageList

_SOURCE = "ResNet, arXiv:1512.03385, table 1; numbers: torchvision's ResNet50_Weights"

# width, depth, kernel, stride, expansion, se (0.25 if left out), skip
# The stride is the 3x3 convolution's, as torchvision and timm have it; the paper's is the first
# 1x1's, and 3.8B FLOPs.
_STAGES = (
    (256, 3, 3, 1, 4, 0),
    (512, 4, 3, 2, 4, 0),
    (1024, 6, 3, 2, 4, 0),
    (2048, 3, 3, 2, 4, 0),
)

_GLOBAL_FIELDS = {
    "activation": "relu",
    "stem_width": 64,
    "stem_kernel": 7,
    "stem_pool": True,
    "head_width": 0,
    "bn_eps": 1e-5,
    "bn_momentum": 0.1,
}

# source, params, FLOPs, resolution, dropout, block, stages, global fields
RESNET = {
    "resnet_50": PublishedStageList(
        _SOURCE, "25.557M", "4.089B", 224, 0.0, "bottleneck", _STAGES, _GLOBAL_FIELDS
    ),
}
