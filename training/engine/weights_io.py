"""Write weights as safetensors files, and load them into a network.

The header of a file holds a sha256 of the tensors (`phinas.training.weights.weights_file` checks
it), the normalization of the images that the network was trained on, and those fields of its spec
that the tensors do not show.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import write_atomic
from phinas.space.interchange.state_dict_maps import WeightsError, to_phinas_state_dict
from phinas.space.interchange.state_dict_namings import WRONG_SPEC
from phinas.space.network import Network
from phinas.space.spec import ArchSpec
from phinas.training.weights.pretrained import FIELDS, FIELDS_KEY, NORMALIZATION_KEY
from phinas.training.weights.weights_file import (
    SHA256,
    hash_tensors,
    read_weights,
    read_weights_as_saved,
)


def save_weights(
    model: nn.Module,
    network: Network,
    path: Path,
    *,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
) -> None:
    """Write the state dict of a model of `network` to a safetensors file.

    Args:
        model: the model.
        network: its network, whose id is written to the header.
        path: the file.
        normalization: mean and standard deviation of each channel of the images that the model was
            trained on; a later fine-tuning uses them.
    """
    save_state_dict(model.state_dict(), network, path, normalization=normalization)


def save_state_dict(
    state: Mapping[str, Tensor],
    network: Network,
    path: Path,
    *,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
) -> None:
    """Write a state dict of `network` like `save_weights`; its tensors may have any names."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {"format": "pt", "phinas.network_id": network.network_id}
    metadata[SHA256] = hash_tensors(state)
    if isinstance(network, ArchSpec):
        metadata[FIELDS_KEY] = json.dumps({name: getattr(network, name) for name in FIELDS})
    if normalization is not None:
        mean, std = map(list, normalization)
        metadata[NORMALIZATION_KEY] = json.dumps({"mean": mean, "std": std})
    write_atomic(path, _with_sorted_metadata(save(state, metadata=metadata)))


def _with_sorted_metadata(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, since the library writes them in random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def load_weights(model: nn.Module, path: Path, *, spec: ArchSpec | None = None) -> None:
    """Load all weights of a model, its classifier included.

    Args:
        model: the model; its network must be that of the weights.
        path: a safetensors file in phinas naming.
        spec: the network of the model. If it is passed, the file may be any that
            `phinas.training.weights.weights_file.read_weights` reads.

    Raises:
        InputError: the file is not an intact weights file, or has weights of another network.
    """
    if spec is None:
        state = read_weights_as_saved(path)
    else:
        try:
            state = to_phinas_state_dict(read_weights(path).contents.tensors, spec)
        except WeightsError as error:
            raise InputError(f"{path}: {error}") from None
    _load_checked(model, state, path)


def _load_checked(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    expected = model.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        actual, expected_tensor = state.get(name), expected.get(name)
        if actual is None or expected_tensor is None or actual.shape != expected_tensor.shape:
            file_shape, network_shape = (
                "absent" if tensor is None else f"of shape {tuple(tensor.shape)}"
                for tensor in (actual, expected_tensor)
            )
            raise InputError(
                f"{path}: {name} is {file_shape} in the file and {network_shape} in the network: "
                f"{WRONG_SPEC}"
            )
    model.load_state_dict(state)
