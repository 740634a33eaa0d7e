"""State dicts from and to the names that timm and torchvision give to the same tensors.

No tensor is copied or changed. Names do not determine padding, activation or the epsilon of batch
norms: for the same outputs the spec must have those too, as `library_models.library_spec` does.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from phinas.space.interchange.constructors import find_constructor
from phinas.space.interchange.state_dict_namings import (
    STATE_DICT_NAMINGS,
    WRONG_SPEC,
    StateDictNaming,
    WeightsError,
    tensor_shapes,
)
from phinas.space.layers import LoweredNetwork, lower
from phinas.space.spec import ArchSpec

__all__ = ["WeightsError", "detect_naming", "to_library_state_dict", "to_phinas_state_dict"]

_PHINAS = STATE_DICT_NAMINGS["phinas"]


def detect_naming(state: Mapping[str, Tensor]) -> StateDictNaming:
    """The naming of a state dict.

    Raises:
        WeightsError: no naming has such names.
    """
    for naming in STATE_DICT_NAMINGS.values():
        if naming.marker_tensor in state:
            return naming
    markers = "; ".join(
        f"{naming.marker_tensor} ({naming.description})" for naming in STATE_DICT_NAMINGS.values()
    )
    examples = ", ".join(sorted(state)[:3]) or "none"
    raise WeightsError(
        f"the tensor names ({examples}, ...) are of no known naming; expected one of: {markers}"
    )


def to_library_state_dict(
    state: Mapping[str, Tensor], spec: ArchSpec, library: str
) -> dict[str, Tensor]:
    """A state dict under the names of a library.

    Args:
        state: the state dict of `spec.build()`.
        spec: the network.
        library: "timm" or "torchvision"; `constructors` selects the class.

    Raises:
        SpecError: the library has no class for this network.
        WeightsError: `state` belongs to another network.
    """
    naming = STATE_DICT_NAMINGS[find_constructor(spec, library).naming]
    return _rename_tensors(state, spec, _PHINAS, lower(spec), naming, lower(spec.canonicalize()))


def to_phinas_state_dict(state: Mapping[str, Tensor], spec: ArchSpec) -> dict[str, Tensor]:
    """A state dict of `spec.build()` from one in any of STATE_DICT_NAMINGS.

    The naming is detected. Missing `num_batches_tracked` (older files have none) become zero.

    Raises:
        WeightsError: the naming is unknown, or a tensor is missing, unexpected or of another shape;
            names the tensor.
    """
    naming = detect_naming(state)
    source_network = (
        lower(spec)
        if naming is _PHINAS
        else _regroup_blocks(lower(spec.canonicalize()), state, naming)
    )
    return _rename_tensors(state, spec, naming, source_network, _PHINAS, lower(spec))


def _regroup_blocks(
    network: LoweredNetwork, state: Mapping[str, Tensor], naming: StateDictNaming
) -> LoweredNetwork:
    """`network` with its blocks grouped into lists like those of the file."""
    if not naming.block_pattern:
        return network
    block_keys = {
        match.groups() for match in map(re.compile(naming.block_pattern).match, state) if match
    }
    blocks = [block for stage in network.stages for block in stage]
    if len(block_keys) != len(blocks):
        raise WeightsError(
            f"has {len(block_keys)} blocks (as {naming.description}), the spec has {len(blocks)}: "
            f"{WRONG_SPEC}"
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
    source_network: LoweredNetwork,
    target: StateDictNaming,
    target_network: LoweredNetwork,
) -> dict[str, Tensor]:
    """The tensors of `state`, checked, under the names of `target`."""
    weight = state.get(f"{source.classifier}.weight")
    if (
        weight is not None
        and weight.ndim == 2
        and weight.shape[1] == spec.last_width
        and len(weight) != spec.classes
    ):
        raise WeightsError(
            f"{source.classifier}: has {len(weight)} classes, the spec has {spec.classes}; set "
            f"classes: {len(weight)} in the spec, or train a classifier for {spec.classes}"
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
                f"{WRONG_SPEC}"
            )
        else:
            renamed[new_name] = state[name]
    for name in state:
        if name not in expected_shapes:
            shape = tuple(state[name].shape)
            raise WeightsError(
                f"{name} is {shape} in the file and absent in the network: {WRONG_SPEC}"
            )
    return renamed
