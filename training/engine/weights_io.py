"""Read and write weights as safetensors files; nothing is unpickled.

The format itself does not detect a flipped byte, so the header holds a sha256 of the tensors. Files
of other tools have none and are not checked. Files with the tensor names of timm or torchvision are
read too (`phinas.space.interchange.state_dict_maps`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import write_atomic
from phinas.space.interchange.state_dict_maps import (
    WeightsError,
    detect_naming,
    to_phinas_state_dict,
)
from phinas.space.interchange.state_dict_namings import WRONG_SPEC
from phinas.space.network import Network
from phinas.space.spec import ArchSpec

_SHA256 = "phinas.sha256"


def save_weights(model: nn.Module, network: Network, path: Path) -> None:
    """Write the state dict of a model of `network` to a safetensors file.

    The header of the file has the network's id and a sha256 of the tensors.
    """
    save_state_dict(model.state_dict(), network, path)


def save_state_dict(state: Mapping[str, Tensor], network: Network, path: Path) -> None:
    """Write a state dict of `network` like `save_weights`; its tensors may have any names."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {"format": "pt", "phinas.network_id": network.network_id, _SHA256: _sha256(state)}
    write_atomic(path, _with_sorted_metadata(save(state, metadata=metadata)))


def _with_sorted_metadata(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, since the library writes them in random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _sha256(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names and bytes; types and shapes are checked by the loader."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, by name.

    Raises:
        InputError: the file is missing, unreadable or damaged, or is not a safetensors file.
    """
    try:
        content = path.read_bytes()
        state = load(content)
    except FileNotFoundError:
        raise InputError(f"{path}: the weights file does not exist; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: the weights file cannot be read ({error.strerror})") from None
    except SafetensorError as error:
        reason, advice = str(error), "name another file, or download it again"
        if content.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
            reason = "a pickle, which may run code when it is read"
            call = "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)"
            advice = f"convert it once by {call}"
        raise InputError(
            f"{path}: is not a complete safetensors file ({reason}); {advice}"
        ) from None
    recorded_sha256 = read_metadata(content).get(_SHA256)
    if recorded_sha256 is not None and recorded_sha256 != _sha256(state):
        raise InputError(
            f"{path}: is damaged (its sha256 differs from the one in its header); restore it from "
            "a copy"
        )
    return state


def read_metadata(content: bytes) -> dict[str, str]:
    """Read the metadata in the header of an intact safetensors file."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return dict(header.get("__metadata__", {}))


def load_weights(model: nn.Module, path: Path, *, spec: ArchSpec | None = None) -> None:
    """Load weights into a model.

    Args:
        model: the model; its network must be that of the weights.
        path: a safetensors file.
        spec: the network of the model. If it is passed, the tensors may also have the names of timm
            or torchvision.

    Raises:
        InputError: the file is not an intact safetensors file, or has weights of another network.
    """
    state = read_weights(path)
    if spec is not None:
        try:
            state = to_phinas_state_dict(state, spec)
        except WeightsError as error:
            raise InputError(f"{path}: {error}") from None
    _load_checked(model, state, path)


def load_pretrained(model: nn.Module, path: Path, *, spec: ArchSpec) -> int:
    """Load initial weights into a model of `spec`, like `load_weights`.

    If the classifier of the file has another number of classes, that of the model keeps its random
    weights.

    Returns:
        The number of classes of the classifier in the file.

    Raises:
        InputError: the file is not an intact safetensors file, or has weights of another network.
    """
    state = read_weights(path)
    initial_classifier = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("classifier.")
    }
    try:
        classifier = state.get(f"{detect_naming(state).classifier}.weight")
        classes = (
            len(classifier) if classifier is not None and classifier.ndim == 2 else spec.classes
        )
        state = to_phinas_state_dict(state, replace(spec, classes=classes))
    except WeightsError as error:
        raise InputError(f"{path}: {error}") from None
    _load_checked(model, state if classes == spec.classes else state | initial_classifier, path)
    return classes


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
