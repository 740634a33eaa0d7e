"""Published networks as rows, each with its source and the numbers printed there.

The EfficientNet rows are the *published* family: not alpha^phi of anything (see README, "two
families"). What a row's network costs exactly stands in tests/golden; where a printed number
differs from it, the row's `note` says why, or that nobody knows. Padding is symmetric in all, as
torch's libraries have it; the Google networks were trained with `padding: same`. Batch norm is as
in each network's own code, but for MobileNetV1 and V2: there it is torchvision's and timm's (1e-5,
0.1), since slim's decays of 0.9997 and 0.997 need hundreds of thousands of steps.
"""

from phinas.space.presets.efficientnet import EFFICIENTNET
from phinas.space.presets.registry import PRESETS, PUBLISHED_NETWORKS, preset, suggest_preset

__all__ = ["EFFICIENTNET", "PRESETS", "PUBLISHED_NETWORKS", "preset", "suggest_preset"]
