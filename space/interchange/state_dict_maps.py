"""State dicts from and to the names that timm and torchvision give to the same tensors.

The one decision to know: `lower` lists the convolutions of a network in an order, a dialect is a
walk that names them in that order, and which tensors there are, their shapes and our own names
follow from there; so no model has a table of its own.
Names tell neither padding nor activation nor the eps of a norm: for the same outputs the spec must
have those too (`peers.spec_of` knows them). No tensor is copied or changed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from phinas.space.interchange.constructors import constructor_of
from phinas.space.layers import Block, Conv, Network, lower
from phinas.space.spec import ArchSpec

_OTHER = "weights of another spec; give the one that they belong to"

# Of each convolution its name and that of its batch norm (whatever, where it has none), in the
# order of `_convs`.
Names = Iterator[tuple[str, str]]


class WeightsError(ValueError):
    """Tensors that are not those of the spec's network. The message names one, what it should be,
    and the remedy.
    """


@dataclass(frozen=True, slots=True)
class Dialect:
    """title: whose names these are. mark: a tensor of every such state dict, and of no other's.
    walk: the names of convolutions and norms. classifier: the name of the linear layer. block: a
    regular expression for the prefix of a block, where it tells the list ("stack") that the block
    stands in; spec and file may then draw those lists differently."""

    title: str
    mark: str
    walk: Callable[[Network], Names]
    classifier: str
    block: str = ""


def _parts(block: Block) -> tuple[Conv, ...]:
    return (*block.convs, block.projection) if block.projection else block.convs


def _convs(network: Network) -> Iterator[Conv]:
    yield network.stem
    for blocks in network.stages:
        for block in blocks:
            yield from _parts(block)
    if network.head:
        yield network.head


def _placed(network: Network) -> Iterator[tuple[int, int, int, Block]]:
    """Stage from 0, position there, index among all, and the block."""
    index = count()
    for stage, blocks in enumerate(network.stages):
        for position, block in enumerate(blocks):
            yield stage, position, next(index), block


def _phinas(network: Network) -> Names:
    yield "stem.conv", "stem.norm"
    for stage, position, _, block in _placed(network):
        for conv in _parts(block):
            at = f"stages.{stage + 1}.{position}.{conv.role}"
            yield f"{at}.conv", f"{at}.norm"
    yield "head.conv", "head.norm"


_TIMM_NAMES = {
    ("depthwise", "project"): ("conv_dw", "conv_pw"),
    ("expand", "depthwise", "project"): ("conv_pw", "conv_dw", "conv_pwl"),
    ("expand", "project"): ("conv_exp", "conv_pwl"),
    ("conv",): ("conv",),
    ("depthwise", "pointwise"): ("conv_dw", "conv_pw"),
}
_TIMM_GATES = {"squeeze": "se.conv_reduce", "excite": "se.conv_expand"}


def _timm(network: Network) -> Names:
    yield "conv_stem", "bn1"
    for stage, position, _, block in _placed(network):
        at = f"blocks.{stage}.{position}"
        spatial = tuple(conv.role for conv in block.convs if not conv.pooled)
        names = dict(
            zip(spatial, enumerate(_TIMM_NAMES.get(spatial, spatial), start=1), strict=True)
        )
        for conv in _parts(block):
            number, name = names.get(conv.role, (0, _TIMM_GATES.get(conv.role, conv.role)))
            yield f"{at}.{name}", f"{at}.bn{number}"
    yield "conv_head", "bn2"


def _resnet(network: Network) -> Names:
    yield "conv1", "bn1"
    for stage, position, _, block in _placed(network):
        at = f"layer{stage + 1}.{position}"
        for number in range(1, len(block.convs) + 1):
            yield f"{at}.conv{number}", f"{at}.bn{number}"
        if block.projection:
            yield f"{at}.downsample.0", f"{at}.downsample.1"


def _torchvision_efficientnet(network: Network) -> Names:
    yield "features.0.0", "features.0.1"
    for stage, position, _, block in _placed(network):
        at, numbers = f"features.{stage + 1}.{position}.block", count()
        for conv in block.convs:
            if conv.role == "squeeze":
                yield f"{at}.{(number := next(numbers))}.fc1", ""
            elif conv.role == "excite":
                yield f"{at}.{number}.fc2", ""
            else:
                number = next(numbers)
                yield f"{at}.{number}.0", f"{at}.{number}.1"
    last = len(network.stages) + 1
    yield f"features.{last}.0", f"features.{last}.1"


def _torchvision_mobilenet_v2(network: Network) -> Names:
    yield "features.0.0", "features.0.1"
    last = 1
    for _, _, index, block in _placed(network):
        last = index + 2
        for number, conv in enumerate(block.convs):
            at = f"features.{index + 1}.conv.{number}"
            yield (
                (f"{at}.0", f"{at}.1")
                if conv is not block.convs[-1]
                else (at, f"features.{index + 1}.conv.{number + 1}")
            )
    yield f"features.{last}.0", f"features.{last}.1"


def _torchvision_mnasnet(network: Network) -> Names:
    yield "layers.0", "layers.1"
    for stage, position, index, block in _placed(network):
        # The first block has no module of its own: its layers are the network's 3 to 7.
        at, start = (f"layers.{stage + 7}.{position}.layers", 0) if index else ("layers", 3)
        for number in range(start, start + 3 * len(block.convs), 3):
            yield f"{at}.{number}", f"{at}.{number + 1}"
    yield "layers.14", "layers.15"


DIALECTS = {
    "phinas": Dialect("phinas", "stem.conv.weight", _phinas, "classifier"),
    "timm.EfficientNet": Dialect(
        "timm's EfficientNet", "conv_stem.weight", _timm, "classifier", r"blocks\.(\d+)\.(\d+)\."
    ),
    "ResNet": Dialect(
        "timm's and torchvision's ResNet",
        "layer1.0.conv1.weight",
        _resnet,
        "fc",
        r"layer(\d+)\.(\d+)\.",
    ),
    "torchvision.EfficientNet": Dialect(
        "torchvision's EfficientNet",
        "features.1.0.block.0.0.weight",
        _torchvision_efficientnet,
        "classifier.1",
        r"features\.(\d+)\.(\d+)\.block\.",
    ),
    "torchvision.MobileNetV2": Dialect(
        "torchvision's MobileNetV2",
        "features.1.conv.0.0.weight",
        _torchvision_mobilenet_v2,
        "classifier.1",
        r"features\.(\d+)\.(conv)\.",
    ),
    "torchvision.MNASNet": Dialect(
        "torchvision's MNASNet", "layers.14.weight", _torchvision_mnasnet, "classifier.1"
    ),
}
_OURS = DIALECTS["phinas"]


def tensors(
    network: Network, dialect: Dialect, *, classes: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of `network`, in an order that is the same for every
    dialect.
    """
    width, names = 0, dialect.walk(network)
    for conv in _convs(network):
        name, norm = next(names, ("", ""))
        if not name:
            raise WeightsError(f"the spec has a {conv.role} and {dialect.title} none: {_OTHER}")
        width = conv.out_width
        yield f"{name}.weight", (width, conv.in_width // conv.groups, conv.kernel, conv.kernel)
        if not conv.norm:
            yield f"{name}.bias", (width,)
            continue
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            yield f"{norm}.{tensor}", (width,)
        yield f"{norm}.num_batches_tracked", ()
    yield f"{dialect.classifier}.weight", (classes, width)
    yield f"{dialect.classifier}.bias", (classes,)


def dialect_of(state: Mapping[str, Tensor]) -> Dialect:
    """Whose names these are. Raises WeightsError where none of DIALECTS has such."""
    for dialect in DIALECTS.values():
        if dialect.mark in state:
            return dialect
    known = "; ".join(f"{dialect.mark} ({dialect.title})" for dialect in DIALECTS.values())
    some = ", ".join(sorted(state)[:3]) or "none"
    raise WeightsError(
        f"the names of these tensors ({some}, ...) are of no network known here; one of them "
        f"should be {known}"
    )


def to_dialect(state: Mapping[str, Tensor], spec: ArchSpec, tool: str) -> dict[str, Tensor]:
    """The state dict of `build(spec)` under the names of `tool`'s class for it: "timm" or
    "torchvision".

    Raises SpecError where the tool has no such class (`constructors` makes it), WeightsError where
    `state` is another's.
    """
    dialect = DIALECTS[constructor_of(spec, tool).dialect]
    return _moved(state, spec, _OURS, lower(spec), dialect, lower(spec.simplified()))


def from_dialect(state: Mapping[str, Tensor], spec: ArchSpec) -> dict[str, Tensor]:
    """A state dict of `build(spec)` from one in the names of any of DIALECTS, which is told by its
    names.

    Missing counts of batches (older files have none) are zero. Raises WeightsError naming the
    tensor.
    """
    dialect = dialect_of(state)
    theirs = lower(spec) if dialect is _OURS else _stacked(lower(spec.simplified()), state, dialect)
    return _moved(state, spec, dialect, theirs, _OURS, lower(spec))


def _stacked(network: Network, state: Mapping[str, Tensor], dialect: Dialect) -> Network:
    """`network` with its blocks in lists as long as those of the file."""
    if not dialect.block:
        return network
    found = {match.groups() for match in map(re.compile(dialect.block).match, state) if match}
    blocks = [block for stage in network.stages for block in stage]
    if len(found) != len(blocks):
        raise WeightsError(
            f"has {len(found)} blocks (as {dialect.title}), the spec {len(blocks)}: {_OTHER}"
        )
    if found and found == {(stack, "conv") for stack, _ in found}:
        return network
    lengths: dict[int, int] = {}
    for stack, _ in found:
        lengths[int(stack)] = lengths.get(int(stack), 0) + 1
    rest = iter(blocks)
    return replace(
        network,
        stages=tuple(tuple(next(rest) for _ in range(lengths[stack])) for stack in sorted(lengths)),
    )


def _moved(
    state: Mapping[str, Tensor],
    spec: ArchSpec,
    source: Dialect,
    there: Network,
    target: Dialect,
    here: Network,
) -> dict[str, Tensor]:
    """The tensors of `state`, checked, under the names of `target`."""
    weight = state.get(f"{source.classifier}.weight")
    if (
        weight is not None
        and weight.ndim == 2
        and weight.shape[1] == spec.last_width
        and len(weight) != spec.classes
    ):
        remedy = f"set classes: {len(weight)} in the spec, or train a classifier for {spec.classes}"
        raise WeightsError(
            f"{source.classifier}: tells {len(weight)} classes apart and the spec has "
            f"{spec.classes}; {remedy}"
        )
    moved: dict[str, Tensor] = {}
    wanted = dict(tensors(there, source, classes=spec.classes))
    for (name, shape), (new_name, _) in zip(
        wanted.items(), tensors(here, target, classes=spec.classes), strict=True
    ):
        if name not in state and name.endswith("num_batches_tracked"):
            moved[new_name] = torch.zeros((), dtype=torch.long)
        elif name not in state or tuple(state[name].shape) != shape:
            have = tuple(state[name].shape) if name in state else "absent"
            also = f" ({new_name})" if source is not target else ""
            raise WeightsError(
                f"{name}{also} is {have} in the file and {shape} in the network: {_OTHER}"
            )
        else:
            moved[new_name] = state[name]
    for name in state:
        if name not in wanted:
            shape = tuple(state[name].shape)
            raise WeightsError(f"{name} is {shape} in the file and absent in the network: {_OTHER}")
    return moved
