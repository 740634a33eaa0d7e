"""MnasNet as published."""

from phinas.space.presets.published_network import PublishedStageList

_SOURCE = (
    "MnasNet, arXiv:1807.11626; tensorflow/tpu models/official/mnasnet (README.md, "
    "mnasnet_models.py)"
)
_B1_SOURCE = (
    "MnasNet, arXiv:1807.11626; tensorflow/tpu mnasnet_models.py; numbers: torchvision's "
    "MNASNet1_0_Weights"
)

# width, depth, kernel, stride, expansion, se (0.25 if left out), skip
_A1_STAGES = (
    (16, 1, 3, 1, 1, 0, False),
    (24, 2, 3, 2, 6, 0),
    (40, 3, 5, 2, 3),
    (80, 4, 3, 2, 6, 0),
    (112, 2, 3, 1, 6),
    (160, 3, 5, 2, 6),
    (320, 1, 3, 1, 6, 0),
)
_B1_STAGES = (
    (16, 1, 3, 1, 1, 0, False),
    (24, 3, 3, 2, 3, 0),
    (40, 3, 5, 2, 3, 0),
    (80, 3, 5, 2, 6, 0),
    (96, 2, 3, 1, 6, 0),
    (192, 4, 5, 2, 6, 0),
    (320, 1, 3, 1, 6, 0, False),
)
_SMALL_STAGES = (
    # With a shortcut, as in timm. TensorFlow's code assumes 16 input channels, so it has none.
    (8, 1, 3, 1, 1, 0),
    (16, 1, 3, 2, 3, 0),
    (16, 2, 3, 2, 6, 0),
    (32, 4, 5, 2, 6),
    (32, 3, 3, 1, 6),
    (88, 3, 5, 2, 6),
    (144, 1, 3, 1, 6, 0),
)

_NETWORK_FIELDS = {"activation": "relu"}

# source, params, FLOPs, resolution, dropout, block, stages, network fields
MNASNET = {
    "mnasnet_a1": PublishedStageList(
        _SOURCE, "3.9M", "312M", 224, 0.2, "mbconv", _A1_STAGES, _NETWORK_FIELDS
    ),
    "mnasnet_b1": PublishedStageList(
        _B1_SOURCE, "4.383M", "0.314B", 224, 0.2, "mbconv", _B1_STAGES, _NETWORK_FIELDS
    ),
    "mnasnet_small": PublishedStageList(
        _SOURCE,
        "2.0M",
        "68M",
        224,
        0.0,
        "mbconv",
        _SMALL_STAGES,
        _NETWORK_FIELDS | {"stem_width": 8},
    ),
}
