"""Published networks by name."""

from collections.abc import Mapping
from functools import cache

from phinas.space.closest_name import suggest_name
from phinas.space.presets.efficientnet import EFFICIENTNET, EFFICIENTNET_LITE, LARGER_EFFICIENTNET
from phinas.space.presets.efficientnet_v2 import EFFICIENTNET_V2
from phinas.space.presets.mnasnet import MNASNET
from phinas.space.presets.mobilenet import MOBILENET
from phinas.space.presets.published_network import PublishedNetwork
from phinas.space.presets.resnet import RESNET
from phinas.space.spec import ArchSpec, SpecError

PUBLISHED_NETWORKS: Mapping[str, PublishedNetwork] = {
    **EFFICIENTNET,
    **LARGER_EFFICIENTNET,
    **EFFICIENTNET_LITE,
    **EFFICIENTNET_V2,
    **MNASNET,
    **MOBILENET,
    **RESNET,
}
PRESETS = tuple(PUBLISHED_NETWORKS)


@cache
def _spec(name: str) -> ArchSpec:
    return PUBLISHED_NETWORKS[name].spec()


def suggest_preset(name: str) -> str:
    """The end of an error message: the preset nearest to `name`, or examples."""
    if suggestion := suggest_name(name, PRESETS):
        return suggestion
    families = (EFFICIENTNET, EFFICIENTNET_LITE, EFFICIENTNET_V2, MNASNET)
    examples = ", ".join(next(iter(family)) for family in families)
    return f"there are {len(PRESETS)} presets, such as {examples}"


def preset(name: str) -> ArchSpec:
    """The published network of that name.

    Raises:
        SpecError: there is no such network. The message names the nearest.
    """
    if name not in PUBLISHED_NETWORKS:
        raise SpecError(
            f"preset: {name!r} is not a known published network; {suggest_preset(name)}"
        )
    return _spec(name)
