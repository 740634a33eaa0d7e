"""The class of timm or torchvision that makes a spec's network, and the Python code that calls it.

The main decision: a library supports a spec only if one of its classes, called with plain
arguments, computes exactly the same function. What a class cannot do (torchvision's stems take 3
channels) is the reason in the error. What only matters in training and the class does not have
(stochastic depth of MobileNetV2, dropout of ResNet) is left out.
"""

from collections.abc import Callable

from phinas.space.interchange.constructors.requirements import Constructor
from phinas.space.interchange.constructors.timm import efficientnet as timm_efficientnet
from phinas.space.interchange.constructors.timm import resnet as timm_resnet
from phinas.space.interchange.constructors.torchvision import (
    efficientnet,
    mnasnet,
    mobilenet_v2,
    resnet,
)
from phinas.space.spec import ArchSpec, SpecError

LIBRARIES: dict[str, dict[str, Callable[[ArchSpec], Constructor]]] = {
    "timm": {"EfficientNet": timm_efficientnet, "ResNet": timm_resnet},
    "torchvision": {
        "EfficientNet": efficientnet,
        "MobileNetV2": mobilenet_v2,
        "MNASNet": mnasnet,
        "ResNet": resnet,
    },
}


def find_constructor(spec: ArchSpec, library: str) -> Constructor:
    """The class of a library for this network.

    Args:
        spec: the network.
        library: "timm" or "torchvision".

    Raises:
        SpecError: no class makes this network; gives the reason of each class.
    """
    if library not in LIBRARIES:
        raise SpecError(f"library: {library!r} is not one of {', '.join(LIBRARIES)}")
    reasons = []
    for title, construct in LIBRARIES[library].items():
        try:
            return construct(spec.canonicalize())
        except SpecError as error:
            reasons.append(f"{title} ({error})")
    raise SpecError(
        f"{library} has no class for this network: {'; '.join(reasons)}. Export it as torch or "
        "onnx instead"
    )
