"""Published networks as rows, each with its source and the numbers printed there.

The EfficientNet rows are the *published* family, which is not alpha^phi of its B0 (see
docs/reading_the_report.md). The exact cost of each network is in tests/golden; where a printed
number differs, the row's `note` gives the reason, or says that it is unknown. Padding is symmetric
in all, as in timm and torchvision; the Google networks were trained with `padding: same`. Batch
norm is as in each network's code, except in MobileNetV1 and V2, where it is torchvision's and
timm's (1e-5, 0.1), because slim's decays of 0.9997 and 0.997 need hundreds of thousands of steps.

A new preset is a row in the table of its family; a new family is a module, listed in `registry`.
"""

from phinas.space.presets.efficientnet import EFFICIENTNET
from phinas.space.presets.registry import PRESETS, PUBLISHED_NETWORKS, preset, suggest_preset

__all__ = ["EFFICIENTNET", "PRESETS", "PUBLISHED_NETWORKS", "preset", "suggest_preset"]
