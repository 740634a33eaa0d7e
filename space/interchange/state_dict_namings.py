"""How phinas, timm, torchvision and EfficientNet-PyTorch name the tensors of one network.

The main decision: `lower` lists the convolutions of a network in a fixed order, and a naming
is a generator that names them in that order. Which tensors there are, and their shapes, follow from
that, so no model needs its own table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from phinas.space.layers import Block, Conv, LoweredNetwork

WRONG_SPEC = "the weights belong to another spec; use that spec"

# For each convolution, its name and that of its batch norm (ignored if there is none), in the order
# of `_network_convs`.
ConvNames = Iterator[tuple[str, str]]


class WeightsError(ValueError):
    """Tensors that do not belong to the spec's network. The message names one tensor, its expected
    shape and what to do.
    """


@dataclass(frozen=True, slots=True)
class StateDictNaming:
    """How a library names the tensors of its networks.

    Attributes:
        description: the library and class.
        marker_tensor: a tensor of every such state dict, and of no other naming's.
        conv_names: yields the names of convolutions and batch norms.
        classifier: the name of the linear layer.
        block_pattern: a regular expression for the prefix of a block that names the block's list,
            or "". With it, spec and file may group the blocks into lists differently.
        fields: fields of the spec that every network of this class has, and that the shapes of its
            tensors do not show.
    """

    description: str
    marker_tensor: str
    conv_names: Callable[[LoweredNetwork], ConvNames]
    classifier: str
    block_pattern: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


def _block_convs(block: Block) -> tuple[Conv, ...]:
    return (*block.convs, block.projection) if block.projection else block.convs


def _network_convs(network: LoweredNetwork) -> Iterator[Conv]:
    yield network.stem
    for blocks in network.stages:
        for block in blocks:
            yield from _block_convs(block)
    if network.head:
        yield network.head


def _iter_blocks(network: LoweredNetwork) -> Iterator[tuple[int, int, int, Block]]:
    """Index of the stage, position in the stage, index in the network, and the block."""
    index = count()
    for stage, blocks in enumerate(network.stages):
        for position, block in enumerate(blocks):
            yield stage, position, next(index), block


def _phinas_names(network: LoweredNetwork) -> ConvNames:
    yield "stem.conv", "stem.norm"
    for stage, position, _, block in _iter_blocks(network):
        for conv in _block_convs(block):
            prefix = f"stages.{stage + 1}.{position}.{conv.name}"
            yield f"{prefix}.conv", f"{prefix}.norm"
    yield "head.conv", "head.norm"


_TIMM_CONV_NAMES = {
    ("depthwise", "project"): ("conv_dw", "conv_pw"),
    ("expand", "depthwise", "project"): ("conv_pw", "conv_dw", "conv_pwl"),
    ("expand", "project"): ("conv_exp", "conv_pwl"),
    ("conv",): ("conv",),
    ("depthwise", "pointwise"): ("conv_dw", "conv_pw"),
}
_TIMM_SE_NAMES = {"squeeze": "se.conv_reduce", "excite": "se.conv_expand"}


def _timm_names(network: LoweredNetwork) -> ConvNames:
    yield "conv_stem", "bn1"
    for stage, position, _, block in _iter_blocks(network):
        prefix = f"blocks.{stage}.{position}"
        conv_roles = tuple(conv.name for conv in block.convs if not conv.pooled_input)
        names = dict(
            zip(
                conv_roles,
                enumerate(_TIMM_CONV_NAMES.get(conv_roles, conv_roles), start=1),
                strict=True,
            )
        )
        for conv in _block_convs(block):
            number, name = names.get(conv.name, (0, _TIMM_SE_NAMES.get(conv.name, conv.name)))
            yield f"{prefix}.{name}", f"{prefix}.bn{number}"
    yield "conv_head", "bn2"


def _resnet_names(network: LoweredNetwork) -> ConvNames:
    yield "conv1", "bn1"
    for stage, position, _, block in _iter_blocks(network):
        prefix = f"layer{stage + 1}.{position}"
        for number in range(1, len(block.convs) + 1):
            yield f"{prefix}.conv{number}", f"{prefix}.bn{number}"
        if block.projection:
            yield f"{prefix}.downsample.0", f"{prefix}.downsample.1"


def _torchvision_efficientnet_names(network: LoweredNetwork) -> ConvNames:
    yield "features.0.0", "features.0.1"
    for stage, position, _, block in _iter_blocks(network):
        prefix, numbers = f"features.{stage + 1}.{position}.block", count()
        for conv in block.convs:
            if conv.name == "squeeze":
                yield f"{prefix}.{(number := next(numbers))}.fc1", ""
            elif conv.name == "excite":
                yield f"{prefix}.{number}.fc2", ""
            else:
                number = next(numbers)
                yield f"{prefix}.{number}.0", f"{prefix}.{number}.1"
    head_index = len(network.stages) + 1
    yield f"features.{head_index}.0", f"features.{head_index}.1"


def _torchvision_mobilenet_v2_names(network: LoweredNetwork) -> ConvNames:
    yield "features.0.0", "features.0.1"
    head_index = 1
    for _, _, index, block in _iter_blocks(network):
        head_index = index + 2
        for number, conv in enumerate(block.convs):
            prefix = f"features.{index + 1}.conv.{number}"
            yield (
                (f"{prefix}.0", f"{prefix}.1")
                if conv is not block.convs[-1]
                else (prefix, f"features.{index + 1}.conv.{number + 1}")
            )
    yield f"features.{head_index}.0", f"features.{head_index}.1"


def _torchvision_mnasnet_names(network: LoweredNetwork) -> ConvNames:
    yield "layers.0", "layers.1"
    for stage, position, index, block in _iter_blocks(network):
        # The first block is not a module: its layers are the network's layers 3 to 7.
        prefix, start = (f"layers.{stage + 7}.{position}.layers", 0) if index else ("layers", 3)
        for number in range(start, start + 3 * len(block.convs), 3):
            yield f"{prefix}.{number}", f"{prefix}.{number + 1}"
    yield "layers.14", "layers.15"


_EFFICIENTNET_PYTORCH_NAMES = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "squeeze": ("_se_reduce", ""),
    "excite": ("_se_expand", ""),
    "project": ("_project_conv", "_bn2"),
}


def _efficientnet_pytorch_names(network: LoweredNetwork) -> ConvNames:
    yield "_conv_stem", "_bn0"
    for _, _, index, block in _iter_blocks(network):
        for conv in _block_convs(block):
            name, norm = _EFFICIENTNET_PYTORCH_NAMES.get(conv.name, ("", ""))
            yield name and f"_blocks.{index}.{name}", f"_blocks.{index}.{norm}"
    yield "_conv_head", "_bn1"


STATE_DICT_NAMINGS = {
    "phinas": StateDictNaming("phinas", "stem.conv.weight", _phinas_names, "classifier"),
    "timm.EfficientNet": StateDictNaming(
        "timm's EfficientNet",
        "conv_stem.weight",
        _timm_names,
        "classifier",
        r"blocks\.(\d+)\.(\d+)\.",
    ),
    "ResNet": StateDictNaming(
        "timm's and torchvision's ResNet",
        "layer1.0.conv1.weight",
        _resnet_names,
        "fc",
        r"layer(\d+)\.(\d+)\.",
    ),
    "torchvision.EfficientNet": StateDictNaming(
        "torchvision's EfficientNet",
        "features.1.0.block.0.0.weight",
        _torchvision_efficientnet_names,
        "classifier.1",
        r"features\.(\d+)\.(\d+)\.block\.",
    ),
    "torchvision.MobileNetV2": StateDictNaming(
        "torchvision's MobileNetV2",
        "features.1.conv.0.0.weight",
        _torchvision_mobilenet_v2_names,
        "classifier.1",
        r"features\.(\d+)\.(conv)\.",
    ),
    "torchvision.MNASNet": StateDictNaming(
        "torchvision's MNASNet", "layers.14.weight", _torchvision_mnasnet_names, "classifier.1"
    ),
    "EfficientNet-PyTorch": StateDictNaming(
        "the package efficientnet-pytorch",
        "_conv_stem.weight",
        _efficientnet_pytorch_names,
        "_fc",
        r"_blocks\.(\d+)()\.",
        fields={"padding": "same", "bn_eps": 1e-3},
    ),
}


def unknown_naming_message(names: Iterable[str]) -> str:
    """The error message for tensor names of no known naming."""
    markers = "; ".join(
        f"{naming.marker_tensor} ({naming.description})" for naming in STATE_DICT_NAMINGS.values()
    )
    examples = ", ".join(sorted(names)[:3]) or "none"
    return f"the tensor names ({examples}, ...) are of no known naming; expected one of: {markers}"


def stem_name(network: LoweredNetwork, naming: StateDictNaming) -> str:
    """The name of the first convolution."""
    return next(naming.conv_names(network))[0]


def tensor_shapes(
    network: LoweredNetwork, naming: StateDictNaming, *, classes: int | None
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of `network`, in the same order for every naming.

    Args:
        network: the network.
        naming: gives the names.
        classes: number of classes, or None to leave out the classifier.

    Raises:
        WeightsError: the naming has no name for a convolution.
    """
    width, names = 0, naming.conv_names(network)
    for conv in _network_convs(network):
        name, norm = next(names, ("", ""))
        if not name:
            raise WeightsError(
                f"the spec has a {conv.name}, {naming.description} has none: {WRONG_SPEC}"
            )
        width = conv.out_width
        yield f"{name}.weight", (width, conv.in_width // conv.groups, conv.kernel, conv.kernel)
        if not conv.norm:
            yield f"{name}.bias", (width,)
            continue
        for suffix in ("weight", "bias", "running_mean", "running_var"):
            yield f"{norm}.{suffix}", (width,)
        yield f"{norm}.num_batches_tracked", ()
    if classes is None:
        return
    yield f"{naming.classifier}.weight", (classes, width)
    yield f"{naming.classifier}.bias", (classes,)
