"""The shipped search spaces, each a YAML file beside this one: what a user's own space looks
like.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent

SPACES = {
    "accel_nasbench": _FOLDER / "accel_nasbench.yaml",
    "fused": _FOLDER / "fused.yaml",
    "mnasnet": _FOLDER / "mnasnet.yaml",
    "mobilenet_v3_like": _FOLDER / "mobilenet_v3_like.yaml",
    "small_images": _FOLDER / "small_images.yaml",
    "tiny": _FOLDER / "tiny.yaml",
}
