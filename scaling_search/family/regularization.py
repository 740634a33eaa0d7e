"""Dropout and stochastic depth of a family: regularization against overfitting.

Published (tensorflow/tpu models/official/efficientnet/efficientnet_builder.py): dropout rises from
0.2 for B0 to 0.5 for B7, and `drop_connect_rate` is 0.2 for all, spread over the blocks, of which
larger members have more. Here the baseline's dropout is multiplied by that of B1..B7 over B0's,
linearly between the phi that they follow and constant above B7, and its stochastic depth is kept.
The dropout is multiplied, not added to, so a baseline without dropout (ResNet-50) or with very
little (MobileNetV1, 0.001) keeps that, and 0.2 of EfficientNetV2-S becomes 0.3 at about the FLOPs
of V2-M, which has 0.3.

Below the baseline no rule was published (MnasNet-small, with a fifth of MnasNet-A1's FLOPs, has no
dropout, A1 has 0.2). Assumed here: both decrease for -phi as they increase for phi, since a smaller
network overfits less; they are 0 from -3.5 on.
"""

from bisect import bisect_right
from dataclasses import replace

from phinas.space.network import NetworkT
from phinas.space.presets import EFFICIENTNET
from phinas.space.spec import ArchSpec

# The phi that the published B0..B7 follow, by their resolutions; depth is smaller from B4 on.
PUBLISHED_PHI = (0.0, 0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0)
MAX_DROPOUT = 0.9


def scale_regularization(spec: NetworkT, phi: float) -> NetworkT:
    """A network of the family with the dropout and stochastic depth for its phi. A network that a
    user's function builds keeps what that function gives it.

    Args:
        spec: With the baseline's dropout and stochastic depth.
        phi: Of the network.
    """
    if not isinstance(spec, ArchSpec):
        return spec
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
    """The published dropout at phi >= 0 over B0's: linear between B0..B7, constant above."""
    rows = [row.dropout / EFFICIENTNET["efficientnet_b0"].dropout for row in EFFICIENTNET.values()]
    if phi >= PUBLISHED_PHI[-1]:
        return rows[-1]
    right = bisect_right(PUBLISHED_PHI, phi)
    low, high = PUBLISHED_PHI[right - 1], PUBLISHED_PHI[right]
    fraction = (phi - low) / (high - low)
    return rows[right - 1] * (1 - fraction) + rows[right] * fraction


def _round_probability(probability: float) -> float:
    return min(MAX_DROPOUT, round(probability, 4))
