"""Published networks as rows, each with its source.

The EfficientNet rows are the *published* family: not alpha^phi of anything (see README, "two families"). Parameters and
FLOPs of all rows stand in tests/golden.
"""

from dataclasses import dataclass
from difflib import get_close_matches

from space.scaling import scale
from space.spec import ArchSpec, SpecError, StageSpec

# EfficientNet-B0: arXiv:1905.11946, table 1, and the published TensorFlow code.
# width, depth, kernel, stride, expansion
_B0_STAGES = (
    (16, 1, 3, 1, 1),
    (24, 2, 3, 2, 6),
    (40, 2, 5, 2, 6),
    (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6),
    (192, 4, 5, 2, 6),
    (320, 1, 3, 1, 6),
)


@dataclass(frozen=True, slots=True)
class Compound:
    """One published member: factors on B0, pixels of a side, dropout."""

    width: float
    depth: float
    resolution: int
    dropout: float


# efficientnet_builder.efficientnet_params of the published code; B0 to B7 also in the paper.
EFFICIENTNET = {
    "efficientnet_b0": Compound(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": Compound(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": Compound(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": Compound(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": Compound(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": Compound(1.6, 2.2, 456, 0.4),
    "efficientnet_b6": Compound(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": Compound(2.0, 3.1, 600, 0.5),
}
PRESETS = tuple(EFFICIENTNET)


def preset(name: str) -> ArchSpec:
    """The published network of that name. Raises SpecError naming the nearest where there is none."""
    if name not in EFFICIENTNET:
        near = get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(PRESETS)}"
        raise SpecError(f"preset: {name!r} is not a published network known here; {hint}")
    row = EFFICIENTNET[name]
    base = ArchSpec(stages=tuple(StageSpec(*stage) for stage in _B0_STAGES), dropout=row.dropout)
    return scale(base, width=row.width, depth=row.depth, resolution=row.resolution / base.resolution)
