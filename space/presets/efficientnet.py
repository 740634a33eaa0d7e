"""EfficientNet and EfficientNet-Lite as published."""

from phinas.space.presets.published_network import PublishedEfficientNet, PublishedEfficientNetLite

# Why printed numbers differ, found by counting; tests/space_tests/test_presets.py checks each
# reason.
_ONE_OPERATION = "the printed FLOPs match a count with one more operation per output element"
_TWO_OPERATIONS = (
    "the printed FLOPs match a count with two more operations per output element (batch norm, as "
    "in fvcore's total)"
)
_THREE_OPERATIONS = (
    "the printed FLOPs match a count with about three more operations per output element (probably "
    "batch norm and ReLU6)"
)
_FEWER_FLOPS = (
    "the printed FLOPs are lower for an unknown reason; timm and torchvision agree with the exact "
    "count"
)
_NORM_STATISTICS = "the printed parameters include the statistics of batch norm"

_EFFICIENTNET_SOURCE = (
    "EfficientNet, arXiv:1905.11946, table 2; factors: tensorflow/tpu efficientnet_builder.py"
)
_LITE_SOURCE = (
    "EfficientNet-Lite, tensorflow/tpu models/official/efficientnet/lite (README.md, "
    "efficientnet_lite_builder.py)"
)
_TIMM_SOURCE = (
    "factors: google/automl effnetv2_configs.py; numbers: timm "
    "results/benchmark-infer-amp-nhwc-pt113-cu117-rtx3090.csv"
)

# source, params, FLOPs, resolution, dropout, width, depth
EFFICIENTNET = {
    "efficientnet_b0": PublishedEfficientNet(
        _EFFICIENTNET_SOURCE, "5.3M", "0.39B", 224, 0.2, 1.0, 1.0
    ),
    "efficientnet_b1": PublishedEfficientNet(
        _EFFICIENTNET_SOURCE, "7.8M", "0.70B", 240, 0.2, 1.0, 1.1, note=_ONE_OPERATION
    ),
    "efficientnet_b2": PublishedEfficientNet(
        _EFFICIENTNET_SOURCE, "9.2M", "1.0B", 260, 0.3, 1.1, 1.2, note=_NORM_STATISTICS
    ),
    "efficientnet_b3": PublishedEfficientNet(
        _EFFICIENTNET_SOURCE, "12M", "1.8B", 300, 0.3, 1.2, 1.4
    ),
    "efficientnet_b4": PublishedEfficientNet(
        _EFFICIENTNET_SOURCE, "19M", "4.2B", 380, 0.4, 1.4, 1.8, note=_FEWER_FLOPS
    ),
    "efficientnet_b5": PublishedEfficientNet(
        _EFFICIENTNET_SOURCE, "30M", "9.9B", 456, 0.4, 1.6, 2.2, note=_FEWER_FLOPS
    ),
    "efficientnet_b6": PublishedEfficientNet(
        _EFFICIENTNET_SOURCE, "43M", "19B", 528, 0.5, 1.8, 2.6
    ),
    "efficientnet_b7": PublishedEfficientNet(
        _EFFICIENTNET_SOURCE, "66M", "37B", 600, 0.5, 2.0, 3.1, note=_FEWER_FLOPS
    ),
}
LARGER_EFFICIENTNET = {
    "efficientnet_b8": PublishedEfficientNet(
        f"AdvProp, arXiv:1911.09665; {_TIMM_SOURCE}",
        "87.41M",
        "63.48B",
        672,
        0.5,
        2.2,
        3.6,
        note=_TWO_OPERATIONS,
    ),
    "efficientnet_l2": PublishedEfficientNet(
        f"Noisy Student, arXiv:1911.04252; {_TIMM_SOURCE}",
        "480.31M",
        "479.12B",
        800,
        0.5,
        4.3,
        5.3,
        note=_TWO_OPERATIONS,
    ),
}
EFFICIENTNET_LITE = {
    "efficientnet_lite0": PublishedEfficientNetLite(
        _LITE_SOURCE, "4.7M", "407M", 224, 0.2, 1.0, 1.0, note=_THREE_OPERATIONS
    ),
    "efficientnet_lite1": PublishedEfficientNetLite(
        _LITE_SOURCE, "5.4M", "631M", 240, 0.2, 1.0, 1.1, note=_THREE_OPERATIONS
    ),
    "efficientnet_lite2": PublishedEfficientNetLite(
        _LITE_SOURCE, "6.1M", "899M", 260, 0.3, 1.1, 1.2, note=_THREE_OPERATIONS
    ),
    "efficientnet_lite3": PublishedEfficientNetLite(
        _LITE_SOURCE, "8.2M", "1.44B", 280, 0.3, 1.2, 1.4, note=_THREE_OPERATIONS
    ),
    "efficientnet_lite4": PublishedEfficientNetLite(
        _LITE_SOURCE, "13.0M", "2.64B", 300, 0.3, 1.4, 1.8, note=_THREE_OPERATIONS
    ),
}
