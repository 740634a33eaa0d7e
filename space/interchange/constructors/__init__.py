"""Which class of timm or torchvision makes a spec's network, and the lines of Python that call it.

The one decision to know: a spec counts as sayable in a tool only where a class of it, called with
plain arguments, makes the very same function; what the class can't be told (torchvision's stems
take 3 channels) refuses the spec, with the reason. What only matters in training and the class
doesn't have (stochastic depth of MobileNetV2, dropout of ResNet) is left out.
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
    """The class of `library` ("timm" or "torchvision") for this network. Raises SpecError with the
    reason of each class.
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
        f"{library} has no class for this network: {'; '.join(reasons)}. Other ways out: torch and "
        "onnx"
    )
