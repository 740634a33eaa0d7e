"""Published networks as rows, each with its source and the numbers printed there.

The EfficientNet rows are the *published* family: not alpha^phi of anything (see README, "two
families"). What a row's network costs exactly stands in tests/golden; where a printed number
differs from it, the row's `remark` says why, or that nobody knows. Padding is symmetric in all, as
torch's libraries have it; the Google networks were trained with `padding: same`. Batch norm is as
in each network's own code, but for MobileNetV1 and V2: there it is torchvision's and timm's (1e-5,
0.1), since slim's decays of 0.9997 and 0.997 need hundreds of thousands of steps.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache

from phinas.space.published import V2, Compound, Listed, Lite, Published
from phinas.space.spec import ArchSpec, SpecError

# Why printed numbers differ, found by counting; tests/space_tests/test_presets.py holds every word
# of it to the numbers.
_ONE_MORE = "the printed FLOPs fit one operation more for each output element"
_TWO_MORE = (
    "the printed FLOPs fit two operations more for each output element: batch norm, "
    "in fvcore's total"
)
_THREE_MORE = (
    "the printed FLOPs fit about three operations more for each output element: "
    "batch norm and ReLU6, it seems"
)
_FEWER = (
    "the printed FLOPs are fewer, and the reason is not known; timm and torchvision "
    "count what is counted here"
)
_L = (
    "the printed numbers are higher, and the reason is not known; timm and torchvision count "
    "what is counted here"
)
_STATISTICS = "the printed parameters fit a count that holds the statistics of batch norm"
_MOBILE = (
    "the printed parameters are without batch norm's, the printed FLOPs are cut off, not rounded"
)

# --- EfficientNet ---------------------------------------------------------------------------------------------------------
_PAPER = "EfficientNet, arXiv:1905.11946, table 2; factors: tensorflow/tpu efficientnet_builder.py"
_LITE = (
    "EfficientNet-Lite, tensorflow/tpu models/official/efficientnet/lite (README.md, "
    "efficientnet_lite_builder.py)"
)
_TIMM = (
    "factors: google/automl effnetv2_configs.py; numbers: timm "
    "results/benchmark-infer-amp-nhwc-pt113-cu117-rtx3090.csv"
)

# source, params, FLOPs, resolution, dropout, width, depth
EFFICIENTNET = {
    "efficientnet_b0": Compound(_PAPER, "5.3M", "0.39B", 224, 0.2, 1.0, 1.0),
    "efficientnet_b1": Compound(_PAPER, "7.8M", "0.70B", 240, 0.2, 1.0, 1.1, remark=_ONE_MORE),
    "efficientnet_b2": Compound(_PAPER, "9.2M", "1.0B", 260, 0.3, 1.1, 1.2, remark=_STATISTICS),
    "efficientnet_b3": Compound(_PAPER, "12M", "1.8B", 300, 0.3, 1.2, 1.4),
    "efficientnet_b4": Compound(_PAPER, "19M", "4.2B", 380, 0.4, 1.4, 1.8, remark=_FEWER),
    "efficientnet_b5": Compound(_PAPER, "30M", "9.9B", 456, 0.4, 1.6, 2.2, remark=_FEWER),
    "efficientnet_b6": Compound(_PAPER, "43M", "19B", 528, 0.5, 1.8, 2.6),
    "efficientnet_b7": Compound(_PAPER, "66M", "37B", 600, 0.5, 2.0, 3.1, remark=_FEWER),
}
_LARGER = {
    "efficientnet_b8": Compound(
        f"AdvProp, arXiv:1911.09665; {_TIMM}",
        "87.41M",
        "63.48B",
        672,
        0.5,
        2.2,
        3.6,
        remark=_TWO_MORE,
    ),
    "efficientnet_l2": Compound(
        f"Noisy Student, arXiv:1911.04252; {_TIMM}",
        "480.31M",
        "479.12B",
        800,
        0.5,
        4.3,
        5.3,
        remark=_TWO_MORE,
    ),
}
_LITES = {
    "efficientnet_lite0": Lite(_LITE, "4.7M", "407M", 224, 0.2, 1.0, 1.0, remark=_THREE_MORE),
    "efficientnet_lite1": Lite(_LITE, "5.4M", "631M", 240, 0.2, 1.0, 1.1, remark=_THREE_MORE),
    "efficientnet_lite2": Lite(_LITE, "6.1M", "899M", 260, 0.3, 1.1, 1.2, remark=_THREE_MORE),
    "efficientnet_lite3": Lite(_LITE, "8.2M", "1.44B", 280, 0.3, 1.2, 1.4, remark=_THREE_MORE),
    "efficientnet_lite4": Lite(_LITE, "13.0M", "2.64B", 300, 0.3, 1.4, 1.8, remark=_THREE_MORE),
}

# --- EfficientNetV2 -------------------------------------------------------------------------------------------------------
_V2 = (
    "EfficientNetV2, arXiv:2104.00298; google/automl efficientnetv2 (README.md, "
    "effnetv2_configs.py)"
)
_V2_BASE = (16, 32, 48, 96, 112, 192)

# source, params, FLOPs, resolution, dropout, stem, widths, depths, head
_V2S = {
    "efficientnet_v2_s": V2(
        _V2, "21.5M", "8.4B", 384, 0.2, 24, (24, 48, 64, 128, 160, 256), (2, 4, 4, 6, 9, 15), 1280
    ),
    "efficientnet_v2_m": V2(
        _V2,
        "54.1M",
        "24.7B",
        480,
        0.3,
        24,
        (24, 48, 80, 160, 176, 304, 512),
        (3, 5, 5, 7, 14, 18, 5),
        1280,
        remark=_ONE_MORE,
    ),
    "efficientnet_v2_l": V2(
        _V2,
        "119.5M",
        "56.3B",
        480,
        0.4,
        32,
        (32, 64, 96, 192, 224, 384, 640),
        (4, 7, 7, 10, 19, 25, 7),
        1280,
        remark=_L,
    ),
    "efficientnet_v2_b0": V2(
        _V2, "7.1M", "0.72B", 224, 0.2, 32, _V2_BASE, (1, 2, 2, 3, 5, 8), 1280
    ),
    "efficientnet_v2_b1": V2(_V2, "8.1M", "1.2B", 240, 0.2, 32, _V2_BASE, (2, 3, 3, 4, 6, 9), 1280),
    "efficientnet_v2_b2": V2(
        _V2, "10.1M", "1.7B", 260, 0.3, 32, (16, 32, 56, 104, 120, 208), (2, 3, 3, 4, 6, 10), 1408
    ),
    "efficientnet_v2_b3": V2(
        _V2, "14.4M", "3.0B", 300, 0.3, 40, (16, 40, 56, 112, 136, 232), (2, 3, 3, 5, 7, 12), 1536
    ),
}

# --- MnasNet, MobileNet, ResNet -------------------------------------------------------------------------------------------
_MNASNET = (
    "MnasNet, arXiv:1807.11626; tensorflow/tpu models/official/mnasnet (README.md, "
    "mnasnet_models.py)"
)
_B1 = (
    "MnasNet, arXiv:1807.11626; tensorflow/tpu mnasnet_models.py; numbers: torchvision's "
    "MNASNet1_0_Weights"
)
_MOBILENET = (
    "MobileNet, arXiv:1704.04861, tables 1 and 8; tensorflow/models "
    "research/slim/nets/mobilenet_v1.py"
)
_MOBILENET_V2 = (
    "MobileNetV2, arXiv:1801.04381, table 2; tensorflow/models "
    "research/slim/nets/mobilenet (README.md)"
)
_RESNET = "ResNet, arXiv:1512.03385, table 1; numbers: torchvision's ResNet50_Weights"

# width, depth, kernel, stride, expansion, se (0.25 if left out), skip
_MNASNET_A1 = (
    (16, 1, 3, 1, 1, 0, False),
    (24, 2, 3, 2, 6, 0),
    (40, 3, 5, 2, 3),
    (80, 4, 3, 2, 6, 0),
    (112, 2, 3, 1, 6),
    (160, 3, 5, 2, 6),
    (320, 1, 3, 1, 6, 0),
)
_MNASNET_B1 = (
    (16, 1, 3, 1, 1, 0, False),
    (24, 3, 3, 2, 3, 0),
    (40, 3, 5, 2, 3, 0),
    (80, 3, 5, 2, 6, 0),
    (96, 2, 3, 1, 6, 0),
    (192, 4, 5, 2, 6, 0),
    (320, 1, 3, 1, 6, 0, False),
)
_MNASNET_SMALL = (
    (
        8,
        1,
        3,
        1,
        1,
        0,
    ),  # with a shortcut, as timm has it; TensorFlow's code takes its input for 16 channels and adds none
    (16, 1, 3, 2, 3, 0),
    (16, 2, 3, 2, 6, 0),
    (32, 4, 5, 2, 6),
    (32, 3, 3, 1, 6),
    (88, 3, 5, 2, 6),
    (144, 1, 3, 1, 6, 0),
)
_MOBILENET_V2_STAGES = (
    (16, 1, 3, 1, 1, 0),
    (24, 2, 3, 2, 6, 0),
    (32, 3, 3, 2, 6, 0),
    (64, 4, 3, 2, 6, 0),
    (96, 3, 3, 1, 6, 0),
    (160, 3, 3, 2, 6, 0),
    (320, 1, 3, 1, 6, 0),
)
_MOBILENET_STAGES = ((64, 1, 3, 1), (128, 2, 3, 2), (256, 2, 3, 2), (512, 6, 3, 2), (1024, 2, 3, 2))
# The stride is the 3x3 convolution's, as torchvision and timm have it; the paper's is the first
# 1x1's, and 3.8B FLOPs.
_RESNET_STAGES = (
    (256, 3, 3, 1, 4, 0),
    (512, 4, 3, 2, 4, 0),
    (1024, 6, 3, 2, 4, 0),
    (2048, 3, 3, 2, 4, 0),
)

_RELU = {"activation": "relu"}
_RELU6 = {
    "activation": "relu6",
    "bn_eps": 1e-5,
    "bn_momentum": 0.1,
}  # slim's and timm's MobileNetV1 too; the paper says ReLU
_RESNET_WHOLE = {
    "stem_width": 64,
    "stem_kernel": 7,
    "stem_pool": True,
    "head_width": 0,
    "bn_eps": 1e-5,
    "bn_momentum": 0.1,
}

# source, params, FLOPs, resolution, dropout, block, stages, fields of the whole
_LISTED = {
    "mnasnet_a1": Listed(_MNASNET, "3.9M", "312M", 224, 0.2, "mbconv", _MNASNET_A1, _RELU),
    "mnasnet_b1": Listed(_B1, "4.383M", "0.314B", 224, 0.2, "mbconv", _MNASNET_B1, _RELU),
    "mnasnet_small": Listed(
        _MNASNET, "2.0M", "68M", 224, 0.0, "mbconv", _MNASNET_SMALL, _RELU | {"stem_width": 8}
    ),
    "mobilenet_v1": Listed(
        _MOBILENET,
        "4.2M",
        "569M",
        224,
        0.001,
        "separable",
        _MOBILENET_STAGES,
        _RELU6 | {"head_width": 0},
    ),
    "mobilenet_v2": Listed(
        _MOBILENET_V2,
        "3.47M",
        "300M",
        224,
        0.2,
        "mbconv",
        _MOBILENET_V2_STAGES,
        _RELU6,
        remark=_MOBILE,
    ),
    "resnet_50": Listed(
        _RESNET, "25.557M", "4.089B", 224, 0.0, "bottleneck", _RESNET_STAGES, _RELU | _RESNET_WHOLE
    ),
}

PUBLISHED: Mapping[str, Published] = {**EFFICIENTNET, **_LARGER, **_LITES, **_V2S, **_LISTED}
PRESETS = tuple(PUBLISHED)


@cache
def _spec(name: str) -> ArchSpec:
    return PUBLISHED[name].spec()


def preset_hint(name: str) -> str:
    """What somebody who wrote `name` may have meant, or some of what there is."""
    near = get_close_matches(name.lower(), PRESETS, n=1)
    some = (next(iter(rows)) for rows in (EFFICIENTNET, _LITES, _V2S, _LISTED))
    return (
        f"did you mean {near[0]!r}?"
        if near
        else f"there are {len(PRESETS)} presets, such as {', '.join(some)}"
    )


def preset(name: str) -> ArchSpec:
    """The published network of that name. Raises SpecError naming the nearest where there is
    none.
    """
    if name not in PUBLISHED:
        raise SpecError(
            f"preset: {name!r} is not a published network known here; {preset_hint(name)}"
        )
    return _spec(name)
