"""The shipped search spaces, each a YAML file beside this one: what a user's own space looks
like.
"""

from pathlib import Path

_HERE = Path(__file__).parent

SPACES = {
    "accel_nasbench": _HERE / "accel_nasbench.yaml",
    "fused": _HERE / "fused.yaml",
    "mnasnet": _HERE / "mnasnet.yaml",
    "mobilenet_v3_like": _HERE / "mobilenet_v3_like.yaml",
    "small_images": _HERE / "small_images.yaml",
    "tiny": _HERE / "tiny.yaml",
}
