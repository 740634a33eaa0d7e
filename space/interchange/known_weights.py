"""What published weights need besides their tensors: normalization of the input, padding, batch
norm.

Tensor names and shapes do not tell them, so they are known by the name of a model: of a repository
of the Hugging Face Hub, of a downloaded file, or of the spec. The normalizations are those of
timm's `default_cfgs`, of torchvision's `Weights.transforms()` and of EfficientNet-PyTorch's README.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phinas.space.interchange.library_models import LIBRARY_MODELS, library_spec

# Mean and standard deviation of red, green and blue, for pixels from 0 to 1.
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}

# The weights that need `half`; the other known ones need `imagenet`. A pattern matches the
# beginning of "timm:MODEL.TAG" or "timm:FILE", and so on.
_HALF_PATTERNS = (
    r"timm:\w+\.ra4_e3600_",
    r"timm:mobilenetv1_",
    r"timm:tf_efficientnet_b\d[._]ap(?![a-z0-9])",
    r"timm:tf_efficientnet_lite\d",
    r"timm:tf_efficientnetv2_(s|m|l|xl)(?![a-z0-9])",
    r"timm:tf_efficientnetv2_b3(\.in21k|_in21k|$)",
    r"torchvision:efficientnet_v2_l",
    r"EfficientNet-PyTorch:adv",
    r"EfficientNet-PyTorch:efficientnet_lite\d",
)
_EFFICIENTNET_PYTORCH = re.compile(r"(adv_?)?efficientnet_(b\d|lite\d|l2)")
_FIELDS = ("padding", "bn_eps")


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """Published weights.

    Attributes:
        name: the library and the name there, such as "timm:efficientnet_b0.ra_in1k".
        normalization: a key of NORMALIZATIONS.
        fields: the fields of the spec that the weights were trained with.
    """

    name: str
    normalization: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def identify_weights(naming: str, names: Iterable[str]) -> KnownWeights | None:
    """The first of `names` that is a published model of the naming's library, or None.

    Args:
        naming: a key of state_dict_namings.STATE_DICT_NAMINGS.
        names: possible names of the model: "timm:NAME", "torchvision:NAME", "preset:NAME" for a
            preset of phinas, or a name that may be of any library, such as that of a file.
    """
    library = naming.partition(".")[0]
    libraries = ("timm", "torchvision") if library == "ResNet" else (library,)
    for name in names:
        for library in libraries:
            if library in _FINDERS and (known := _FINDERS[library](name)):
                return known
    return None


def _find_efficientnet_pytorch(name: str) -> KnownWeights | None:
    library, _, rest = name.rpartition(":")
    rest = rest.replace("-", "_").lower()
    if library in ("", "preset") and _EFFICIENTNET_PYTORCH.match(rest):
        return _known_weights(f"EfficientNet-PyTorch:{rest}", {})
    return None


def _find_timm(name: str) -> KnownWeights | None:
    # A preset may be `efficientnet_b0` or `tf_efficientnet_b0` there.
    library, _, rest = name.rpartition(":")
    return _find_model("timm", rest) if library in ("", "timm") else None


def _find_torchvision(name: str) -> KnownWeights | None:
    library, _, rest = name.rpartition(":")
    rest = re.sub(r"(\d)\.(?=\d)", r"\1_", rest)  # mnasnet0.5_top1_67.823 is mnasnet0_5
    if library == "preset":
        rest = re.sub(r"^resnet_", "resnet", rest)
    return _find_model("torchvision", rest) if library in ("", "torchvision", "preset") else None


_FINDERS = {
    "EfficientNet-PyTorch": _find_efficientnet_pytorch,
    "timm": _find_timm,
    "torchvision": _find_torchvision,
}


def _find_model(library: str, name: str) -> KnownWeights | None:
    """The model with whose name `name` begins, followed by no letter or digit."""
    models = (key.partition(":")[2] for key in LIBRARY_MODELS if key.startswith(f"{library}:"))
    matches = [m for m in models if re.match(re.escape(m) + r"(?![A-Za-z0-9])", name)]
    if not matches:
        return None
    spec = library_spec(f"{library}:{max(matches, key=len)}")
    return _known_weights(f"{library}:{name}", {field: getattr(spec, field) for field in _FIELDS})


def _known_weights(name: str, fields: Mapping[str, Any]) -> KnownWeights:
    is_half = any(re.match(pattern, name) for pattern in _HALF_PATTERNS)
    return KnownWeights(name, "half" if is_half else "imagenet", fields)


def adapt_normalization(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Mean or standard deviation for another number of channels, as `adapt_stem` changes the
    weights: the average for one channel, otherwise repeated.
    """
    if len(values) == channels:
        return values
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))
