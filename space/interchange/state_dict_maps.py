"""State dicts from and to the names that other libraries give to the same tensors.

No tensor is copied or changed. Names do not determine padding, activation or the epsilon of batch
norms: for the same outputs the spec must have those too, as `library_models.library_spec` does.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from phinas.space.interchange.constructors import find_constructor
from phinas.space.interchange.state_dict_namings import (
    STATE_DICT_NAMINGS,
    WRONG_SPEC,
    StateDictNaming,
    WeightsError,
    tensor_shapes,
    unknown_naming_message,
)
from phinas.space.layers import LoweredNetwork, lower
from phinas.space.spec import ArchSpec

__all__ = [
    "WeightsError",
    "backbone_to_phinas",
    "detect_naming",
    "regroup_for_naming",
    "to_library_state_dict",
    "to_phinas_state_dict",
]

_PHINAS = STATE_DICT_NAMINGS["phinas"]


def detect_naming(state: Mapping[str, Tensor]) -> StateDictNaming:
    """The naming of a state dict.

    Raises:
        WeightsError: no naming has such names.
    """
    for naming in STATE_DICT_NAMINGS.values():
        if naming.marker_tensor in state:
            return naming
    raise WeightsError(unknown_naming_message(state))


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
    _check_classes(state, spec, _PHINAS)
    return _rename_tensors(
        state,
        _Names(_PHINAS, lower(spec)),
        _Names(naming, lower(spec.canonicalize())),
        classes=spec.classes,
    )


def to_phinas_state_dict(state: Mapping[str, Tensor], spec: ArchSpec) -> dict[str, Tensor]:
    """A state dict of `spec.build()` from one in any of STATE_DICT_NAMINGS.

    The naming is detected. Missing `num_batches_tracked` (older files have none) become zero.

    Raises:
        WeightsError: the naming is unknown, or a tensor is missing, unexpected or of another shape;
            names the tensor.
    """
    naming = detect_naming(state)
    source = _Names(naming, regroup_for_naming(spec, state, naming))
    _check_classes(state, spec, naming)
    return _rename_tensors(state, source, _Names(_PHINAS, lower(spec)), classes=spec.classes)


def backbone_to_phinas(state: Mapping[str, Tensor], spec: ArchSpec) -> dict[str, Tensor]:
    """Like `to_phinas_state_dict`, for a state dict without its classifier."""
    naming = detect_naming(state)
    source = _Names(naming, regroup_for_naming(spec, state, naming))
    return _rename_tensors(state, source, _Names(_PHINAS, lower(spec)), classes=None)


def regroup_for_naming(
    spec: ArchSpec, state: Mapping[str, Tensor], naming: StateDictNaming
) -> LoweredNetwork:
    """The layers of `spec`, with its blocks grouped like those of the state dict.

    Raises:
        WeightsError: the state dict has another number of blocks.
    """
    if naming is _PHINAS:
        return lower(spec)
    return _regroup_blocks(lower(spec.canonicalize()), state, naming)


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
            f"has {len(block_keys)} blocks (named as in {naming.description}), the spec has "
            f"{len(blocks)}: "
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


@dataclass(frozen=True)
class _Names:
    """A naming, and the grouping of the blocks that it names."""

    naming: StateDictNaming
    network: LoweredNetwork


def _check_classes(state: Mapping[str, Tensor], spec: ArchSpec, naming: StateDictNaming) -> None:
    weight = state.get(f"{naming.classifier}.weight")
    if (
        weight is not None
        and weight.ndim == 2
        and weight.shape[1] == spec.last_width
        and len(weight) != spec.classes
    ):
        raise WeightsError(
            f"{naming.classifier}: has {len(weight)} classes, the spec has {spec.classes}; set "
            f"classes: {len(weight)} in the spec, or train a classifier for {spec.classes}"
        )


def _rename_tensors(
    state: Mapping[str, Tensor], source: _Names, target: _Names, *, classes: int | None
) -> dict[str, Tensor]:
    """The tensors of `state`, checked, under the names of `target`."""
    renamed: dict[str, Tensor] = {}
    differences: list[str] = []
    expected_shapes = dict(tensor_shapes(source.network, source.naming, classes=classes))
    target_names = (
        name for name, _ in tensor_shapes(target.network, target.naming, classes=classes)
    )
    for (name, shape), new_name in zip(expected_shapes.items(), target_names, strict=True):
        if name not in state and name.endswith("num_batches_tracked"):
            renamed[new_name] = torch.zeros((), dtype=torch.long)
        elif name not in state or tuple(state[name].shape) != shape:
            actual_shape = tuple(state[name].shape) if name in state else "absent"
            also_named = f" ({new_name})" if source.naming is not target.naming else ""
            differences.append(
                f"{name}{also_named} is {actual_shape} in the file and {shape} in the network"
            )
        else:
            renamed[new_name] = state[name]
    differences += [
        f"{name} is {tuple(state[name].shape)} in the file and absent in the network"
        for name in state
        if name not in expected_shapes
    ]
    if differences:
        more = f", and {len(differences) - 1} more differ" if len(differences) > 1 else ""
        raise WeightsError(f"{differences[0]}{more}: {WRONG_SPEC}")
    return renamed
