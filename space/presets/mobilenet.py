"""MobileNetV1 and MobileNetV2 as published."""

from phinas.space.presets.published_network import PublishedStageList

# Why printed numbers differ, found by counting; tests/space_tests/test_presets.py checks each
# reason.
_PARAMS_WITHOUT_NORMS = (
    "the printed parameters exclude those of batch norm; the printed FLOPs are truncated, not "
    "rounded"
)

_V1_SOURCE = (
    "MobileNet, arXiv:1704.04861, tables 1 and 8; tensorflow/models "
    "research/slim/nets/mobilenet_v1.py"
)
_V2_SOURCE = (
    "MobileNetV2, arXiv:1801.04381, table 2; tensorflow/models "
    "research/slim/nets/mobilenet (README.md)"
)

# width, depth, kernel, stride, expansion, se (0.25 if left out), skip
_V2_STAGES = (
    (16, 1, 3, 1, 1, 0),
    (24, 2, 3, 2, 6, 0),
    (32, 3, 3, 2, 6, 0),
    (64, 4, 3, 2, 6, 0),
    (96, 3, 3, 1, 6, 0),
    (160, 3, 3, 2, 6, 0),
    (320, 1, 3, 1, 6, 0),
)
_V1_STAGES = ((64, 1, 3, 1), (128, 2, 3, 2), (256, 2, 3, 2), (512, 6, 3, 2), (1024, 2, 3, 2))

# slim's and timm's MobileNetV1 too; the paper says ReLU
_NETWORK_FIELDS = {
    "activation": "relu6",
    "bn_eps": 1e-5,
    "bn_momentum": 0.1,
}

# source, params, FLOPs, resolution, dropout, block, stages, network fields
MOBILENET = {
    "mobilenet_v1": PublishedStageList(
        _V1_SOURCE,
        "4.2M",
        "569M",
        224,
        0.001,
        "separable",
        _V1_STAGES,
        _NETWORK_FIELDS | {"head_width": 0},
    ),
    "mobilenet_v2": PublishedStageList(
        _V2_SOURCE,
        "3.47M",
        "300M",
        224,
        0.2,
        "mbconv",
        _V2_STAGES,
        _NETWORK_FIELDS,
        note=_PARAMS_WITHOUT_NORMS,
    ),
}
