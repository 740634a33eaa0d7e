"""Dropout and stochastic depth of a family: how strongly its members are held back from learning
their images by heart.

Published (tensorflow/tpu models/official/efficientnet/efficientnet_builder.py): dropout rises from
B0's 0.2 to B7's 0.5, and `drop_connect_rate` is 0.2 for all, spread over the blocks, of which the
larger members have more. Here the baseline's dropout is multiplied by what B1..B7 have over B0,
linearly between the phi that they follow and level beyond B7, and its stochastic depth is kept.
Multiplied, not added: a baseline trained without dropout (ResNet-50) or with next to none
(MobileNetV1, 0.001) keeps that, and EfficientNetV2-S's 0.2 becomes 0.3 at about the FLOPs of V2-M,
which has 0.3.

Below the baseline nothing of the kind was published (MnasNet-small, a fifth of MnasNet-A1's FLOPs,
has no dropout where A1 has 0.2). Assumed here: what phi adds, -phi takes, of both, since a smaller
network learns less by heart; none is left from -3.5 on.
"""

from bisect import bisect_right
from dataclasses import replace

from phinas.space.presets import EFFICIENTNET
from phinas.space.spec import ArchSpec

# The phi that the published B0..B7 follow (their resolutions fit best; depth is cut from B4 on).
PUBLISHED_PHI = (0.0, 0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0)
MAX_DROPOUT = 0.9


def scale_regularization(spec: ArchSpec, phi: float) -> ArchSpec:
    """`spec`, which has the baseline's dropout and stochastic depth, with those that are due at
    phi.
    """
    multiple = published_dropout_multiple(abs(phi))
    if phi >= 0:
        return replace(spec, dropout=_round_probability(spec.dropout * multiple))
    factor = max(0.0, 2 - multiple)
    return replace(
        spec,
        dropout=_round_probability(spec.dropout * factor),
        drop_path=_round_probability(spec.drop_path * factor),
    )


def published_dropout_multiple(phi: float) -> float:
    """The published dropout at phi >= 0 over B0's: linear between B0..B7, level beyond."""
    rows = [row.dropout / EFFICIENTNET["efficientnet_b0"].dropout for row in EFFICIENTNET.values()]
    if phi >= PUBLISHED_PHI[-1]:
        return rows[-1]
    right = bisect_right(PUBLISHED_PHI, phi)
    low, high = PUBLISHED_PHI[right - 1], PUBLISHED_PHI[right]
    fraction = (phi - low) / (high - low)
    return rows[right - 1] * (1 - fraction) + rows[right] * fraction


def _round_probability(probability: float) -> float:
    return min(MAX_DROPOUT, round(probability, 4))
