"""The shipped search spaces, each a YAML file beside this one: what a user's own space looks like."""

from pathlib import Path

_HERE = Path(__file__).parent

SPACES = {
    "mnasnet": _HERE / "mnasnet.yaml",
    "small_images": _HERE / "small_images.yaml",
    "tiny": _HERE / "tiny.yaml",
}
