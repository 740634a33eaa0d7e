"""Initial weights for a network with other channels or classes than those of the weights.

The rules are timm's. For one channel the weights of the first convolution are summed over the
input channels; for another number they are repeated, and scaled so that the sum stays the same. A
classifier that is absent, or that has another number of classes, is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from phinas.space.interchange.state_dict_maps import (
    backbone_to_phinas,
    detect_naming,
    regroup_for_naming,
)
from phinas.space.interchange.state_dict_namings import stem_name, tensor_shapes
from phinas.space.spec import ArchSpec

# First parts of the names of classifiers in known namings, and of those that users put in place.
_CLASSIFIER_NAMES = {"classifier", "fc", "_fc", "head", "linear", "logits", "last_linear"}


@dataclass(frozen=True)
class InitialStateDict:
    """Tensors for `spec.build()`.

    Attributes:
        tensors: the tensors in phinas naming; without the classifier if `has_classifier` is False.
        has_classifier: whether the classifier fits the spec.
        file_classes: number of classes of the file's classifier; None if it has none, or one of
            another form.
        file_channels: number of input channels of the file's first convolution.
    """

    tensors: dict[str, Tensor]
    has_classifier: bool
    file_classes: int | None
    file_channels: int


def to_initial_state_dict(state: Mapping[str, Tensor], spec: ArchSpec) -> InitialStateDict:
    """Initial weights of `spec` from a state dict in any of STATE_DICT_NAMINGS.

    Raises:
        WeightsError: a tensor of the backbone is missing, unexpected or of another shape; names it.
    """
    naming = detect_naming(state)
    network = regroup_for_naming(spec, state, naming)
    expected = dict(tensor_shapes(network, naming, classes=None))
    classifier = {
        name: tensor
        for name, tensor in state.items()
        if name not in expected and name.partition(".")[0] in _CLASSIFIER_NAMES
    }
    backbone = {name: tensor for name, tensor in state.items() if name not in classifier}
    stem = f"{stem_name(network, naming)}.weight"
    file_channels = spec.channels
    if stem in backbone and backbone[stem].ndim == 4:
        file_channels = backbone[stem].shape[1]
        if file_channels != spec.channels:
            backbone[stem] = adapt_stem(backbone[stem], spec.channels)
    tensors = backbone_to_phinas(backbone, spec)
    weight = classifier.get(f"{naming.classifier}.weight")
    bias = classifier.get(f"{naming.classifier}.bias")
    if weight is None or bias is None or len(classifier) != 2 or weight.ndim != 2:
        return InitialStateDict(tensors, False, None, file_channels)
    if weight.shape != (spec.classes, spec.last_width) or bias.shape != (spec.classes,):
        return InitialStateDict(tensors, False, len(weight), file_channels)
    tensors |= {"classifier.weight": weight, "classifier.bias": bias}
    return InitialStateDict(tensors, True, spec.classes, file_channels)


def adapt_stem(weight: Tensor, channels: int) -> Tensor:
    """The weights of a first convolution for another number of input channels.

    An image of gray pixels has the same features before and after.

    Args:
        weight: (width, input channels, kernel, kernel).
        channels: the new number of input channels.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    file_channels = weight.shape[1]
    repeats = -(-channels // file_channels)
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * (file_channels / channels)
