"""State dicts from and to the names that timm and torchvision give to the same tensors.

The one decision to know: `lower` lists the convolutions of a network in an order, a naming is a
generator that names them in that order, and which tensors there are, their shapes and our own names
follow from there; so no model has a table of its own.
Names tell neither padding nor activation nor the eps of a norm: for the same outputs the spec must
have those too (`library_models.library_spec` knows them). No tensor is copied or changed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from phinas.space.interchange.constructors import find_constructor
from phinas.space.layers import Block, Conv, Network, lower
from phinas.space.spec import ArchSpec

_WRONG_SPEC = "weights of another spec; give the one that they belong to"

# Of each convolution its name and that of its batch norm (whatever, where it has none), in the
# order of `_network_convs`.
ConvNames = Iterator[tuple[str, str]]


class WeightsError(ValueError):
    """Tensors that are not those of the spec's network. The message names one, what it should be,
    and what to do.
    """


@dataclass(frozen=True, slots=True)
class StateDictNaming:
    """How a library names the tensors of its networks.

    description: whose names these are. marker_tensor: a tensor of every such state dict, and of no
    other's. conv_names: lists the names of convolutions and norms. classifier: the name of the
    linear layer. block_pattern: a regular expression for the prefix of a block, where it names the
    list that the block is in; spec and file may then group the blocks differently."""

    description: str
    marker_tensor: str
    conv_names: Callable[[Network], ConvNames]
    classifier: str
    block_pattern: str = ""


def _block_convs(block: Block) -> tuple[Conv, ...]:
    return (*block.convs, block.projection) if block.projection else block.convs


def _network_convs(network: Network) -> Iterator[Conv]:
    yield network.stem
    for blocks in network.stages:
        for block in blocks:
            yield from _block_convs(block)
    if network.head:
        yield network.head


def _iter_blocks(network: Network) -> Iterator[tuple[int, int, int, Block]]:
    """Stage from 0, position there, index among all, and the block."""
    index = count()
    for stage, blocks in enumerate(network.stages):
        for position, block in enumerate(blocks):
            yield stage, position, next(index), block


def _phinas_names(network: Network) -> ConvNames:
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


def _timm_names(network: Network) -> ConvNames:
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


def _resnet_names(network: Network) -> ConvNames:
    yield "conv1", "bn1"
    for stage, position, _, block in _iter_blocks(network):
        prefix = f"layer{stage + 1}.{position}"
        for number in range(1, len(block.convs) + 1):
            yield f"{prefix}.conv{number}", f"{prefix}.bn{number}"
        if block.projection:
            yield f"{prefix}.downsample.0", f"{prefix}.downsample.1"


def _torchvision_efficientnet_names(network: Network) -> ConvNames:
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


def _torchvision_mobilenet_v2_names(network: Network) -> ConvNames:
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


def _torchvision_mnasnet_names(network: Network) -> ConvNames:
    yield "layers.0", "layers.1"
    for stage, position, index, block in _iter_blocks(network):
        # The first block has no module of its own: its layers are the network's 3 to 7.
        prefix, start = (f"layers.{stage + 7}.{position}.layers", 0) if index else ("layers", 3)
        for number in range(start, start + 3 * len(block.convs), 3):
            yield f"{prefix}.{number}", f"{prefix}.{number + 1}"
    yield "layers.14", "layers.15"


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
}
_PHINAS = STATE_DICT_NAMINGS["phinas"]


def tensor_shapes(
    network: Network, naming: StateDictNaming, *, classes: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of `network`, in an order that is the same for every
    naming.
    """
    width, names = 0, naming.conv_names(network)
    for conv in _network_convs(network):
        name, norm = next(names, ("", ""))
        if not name:
            raise WeightsError(
                f"the spec has a {conv.name} and {naming.description} none: {_WRONG_SPEC}"
            )
        width = conv.out_width
        yield f"{name}.weight", (width, conv.in_width // conv.groups, conv.kernel, conv.kernel)
        if not conv.norm:
            yield f"{name}.bias", (width,)
            continue
        for suffix in ("weight", "bias", "running_mean", "running_var"):
            yield f"{norm}.{suffix}", (width,)
        yield f"{norm}.num_batches_tracked", ()
    yield f"{naming.classifier}.weight", (classes, width)
    yield f"{naming.classifier}.bias", (classes,)


def detect_naming(state: Mapping[str, Tensor]) -> StateDictNaming:
    """Whose names these are. Raises WeightsError where none of STATE_DICT_NAMINGS has such."""
    for naming in STATE_DICT_NAMINGS.values():
        if naming.marker_tensor in state:
            return naming
    markers = "; ".join(
        f"{naming.marker_tensor} ({naming.description})" for naming in STATE_DICT_NAMINGS.values()
    )
    examples = ", ".join(sorted(state)[:3]) or "none"
    raise WeightsError(
        f"the names of these tensors ({examples}, ...) are of no network known here; one of them "
        f"should be {markers}"
    )


def to_library_state_dict(
    state: Mapping[str, Tensor], spec: ArchSpec, library: str
) -> dict[str, Tensor]:
    """The state dict of `build(spec)` under the names of `library`'s class for it: "timm" or
    "torchvision".

    Raises SpecError where the library has no such class (`constructors` selects it), WeightsError
    where `state` is another's.
    """
    naming = STATE_DICT_NAMINGS[find_constructor(spec, library).naming]
    return _rename_tensors(state, spec, _PHINAS, lower(spec), naming, lower(spec.canonicalize()))


def to_phinas_state_dict(state: Mapping[str, Tensor], spec: ArchSpec) -> dict[str, Tensor]:
    """A state dict of `build(spec)` from one in the names of any of STATE_DICT_NAMINGS, which is
    detected by its names.

    Missing counts of batches (older files have none) are zero. Raises WeightsError naming the
    tensor.
    """
    naming = detect_naming(state)
    source_network = (
        lower(spec)
        if naming is _PHINAS
        else _regroup_blocks(lower(spec.canonicalize()), state, naming)
    )
    return _rename_tensors(state, spec, naming, source_network, _PHINAS, lower(spec))


def _regroup_blocks(
    network: Network, state: Mapping[str, Tensor], naming: StateDictNaming
) -> Network:
    """`network` with its blocks in lists as long as those of the file."""
    if not naming.block_pattern:
        return network
    block_keys = {
        match.groups() for match in map(re.compile(naming.block_pattern).match, state) if match
    }
    blocks = [block for stage in network.stages for block in stage]
    if len(block_keys) != len(blocks):
        raise WeightsError(
            f"has {len(block_keys)} blocks (as {naming.description}), the spec {len(blocks)}: "
            f"{_WRONG_SPEC}"
        )
    if block_keys and block_keys == {(list_index, "conv") for list_index, _ in block_keys}:
        return network
    lengths: dict[int, int] = {}
    for list_index, _ in block_keys:
        lengths[int(list_index)] = lengths.get(int(list_index), 0) + 1
    remaining = iter(blocks)
    return replace(
        network,
        stages=tuple(
            tuple(next(remaining) for _ in range(lengths[list_index]))
            for list_index in sorted(lengths)
        ),
    )


def _rename_tensors(
    state: Mapping[str, Tensor],
    spec: ArchSpec,
    source: StateDictNaming,
    source_network: Network,
    target: StateDictNaming,
    target_network: Network,
) -> dict[str, Tensor]:
    """The tensors of `state`, checked, under the names of `target`."""
    weight = state.get(f"{source.classifier}.weight")
    if (
        weight is not None
        and weight.ndim == 2
        and weight.shape[1] == spec.last_width
        and len(weight) != spec.classes
    ):
        hint = f"set classes: {len(weight)} in the spec, or train a classifier for {spec.classes}"
        raise WeightsError(
            f"{source.classifier}: tells {len(weight)} classes apart and the spec has "
            f"{spec.classes}; {hint}"
        )
    renamed: dict[str, Tensor] = {}
    expected_shapes = dict(tensor_shapes(source_network, source, classes=spec.classes))
    for (name, shape), (new_name, _) in zip(
        expected_shapes.items(),
        tensor_shapes(target_network, target, classes=spec.classes),
        strict=True,
    ):
        if name not in state and name.endswith("num_batches_tracked"):
            renamed[new_name] = torch.zeros((), dtype=torch.long)
        elif name not in state or tuple(state[name].shape) != shape:
            actual_shape = tuple(state[name].shape) if name in state else "absent"
            also_named = f" ({new_name})" if source is not target else ""
            raise WeightsError(
                f"{name}{also_named} is {actual_shape} in the file and {shape} in the network: "
                f"{_WRONG_SPEC}"
            )
        else:
            renamed[new_name] = state[name]
    for name in state:
        if name not in expected_shapes:
            shape = tuple(state[name].shape)
            raise WeightsError(
                f"{name} is {shape} in the file and absent in the network: {_WRONG_SPEC}"
            )
    return renamed
