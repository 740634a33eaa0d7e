"""EfficientNetV2 as published."""

from phinas.space.presets.published_network import PublishedEfficientNetV2

# Why printed numbers differ, found by counting; tests/space_tests/test_presets.py checks each
# reason.
_ONE_OPERATION = "the printed FLOPs match a count with one more operation per output element"
_HIGHER_NUMBERS = (
    "the printed numbers are higher for an unknown reason; timm and torchvision agree with the "
    "exact ones"
)

_SOURCE = (
    "EfficientNetV2, arXiv:2104.00298; google/automl efficientnetv2 (README.md, "
    "effnetv2_configs.py)"
)
_BASE_WIDTHS = (16, 32, 48, 96, 112, 192)

# source, params, FLOPs, resolution, dropout, stem, widths, depths, head
EFFICIENTNET_V2 = {
    "efficientnet_v2_s": PublishedEfficientNetV2(
        _SOURCE,
        "21.5M",
        "8.4B",
        384,
        0.2,
        24,
        (24, 48, 64, 128, 160, 256),
        (2, 4, 4, 6, 9, 15),
        1280,
    ),
    "efficientnet_v2_m": PublishedEfficientNetV2(
        _SOURCE,
        "54.1M",
        "24.7B",
        480,
        0.3,
        24,
        (24, 48, 80, 160, 176, 304, 512),
        (3, 5, 5, 7, 14, 18, 5),
        1280,
        note=_ONE_OPERATION,
    ),
    "efficientnet_v2_l": PublishedEfficientNetV2(
        _SOURCE,
        "119.5M",
        "56.3B",
        480,
        0.4,
        32,
        (32, 64, 96, 192, 224, 384, 640),
        (4, 7, 7, 10, 19, 25, 7),
        1280,
        note=_HIGHER_NUMBERS,
    ),
    "efficientnet_v2_b0": PublishedEfficientNetV2(
        _SOURCE, "7.1M", "0.72B", 224, 0.2, 32, _BASE_WIDTHS, (1, 2, 2, 3, 5, 8), 1280
    ),
    "efficientnet_v2_b1": PublishedEfficientNetV2(
        _SOURCE, "8.1M", "1.2B", 240, 0.2, 32, _BASE_WIDTHS, (2, 3, 3, 4, 6, 9), 1280
    ),
    "efficientnet_v2_b2": PublishedEfficientNetV2(
        _SOURCE,
        "10.1M",
        "1.7B",
        260,
        0.3,
        32,
        (16, 32, 56, 104, 120, 208),
        (2, 3, 3, 4, 6, 10),
        1408,
    ),
    "efficientnet_v2_b3": PublishedEfficientNetV2(
        _SOURCE,
        "14.4M",
        "3.0B",
        300,
        0.3,
        40,
        (16, 40, 56, 112, 136, 232),
        (2, 3, 3, 5, 7, 12),
        1536,
    ),
}
