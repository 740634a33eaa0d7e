"""Weights as safetensors files: nothing is ever unpickled.

The format itself does not notice a flipped byte, so the header holds a sha256 of the tensors; files
of others have none and are taken as they are. Files in the names of timm or torchvision are read
too (space/interchange/state_dict_maps.py).
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
from phinas.space.spec import ArchSpec

_SHA256 = "phinas.sha256"


def save_weights(model: nn.Module, spec: ArchSpec, path: Path) -> None:
    """Write the state dict, contiguous and on the CPU, with the spec's id and a sha256 in the
    file's header.
    """
    save_state_dict(model.state_dict(), spec, path)


def save_state_dict(state: Mapping[str, Tensor], spec: ArchSpec, path: Path) -> None:
    """Write a state dict of the network of `spec`, under whatever names, as `save_weights` does."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {"format": "pt", "phinas.spec_id": spec.spec_id, _SHA256: _sha256(state)}
    write_atomic(path, _with_sorted_metadata(save(state, metadata=metadata)))


def _with_sorted_metadata(content: bytes) -> bytes:
    """A safetensors file with its header in one order: the library writes what is told beside the
    tensors in any.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _sha256(state: Mapping[str, Tensor]) -> str:
    """Of names and bytes; the loader sees to types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name. Raises InputError where it is no whole safetensors file."""
    try:
        content = path.read_bytes()
        state = load(content)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file of weights") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except SafetensorError as error:
        reason = str(error)
        if content.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
            hint = "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)"
            reason = f"but a pickle, which may run code when it is read; rewrite it once: {hint}"
        raise InputError(f"{path}: is not a whole safetensors file ({reason})") from None
    recorded_sha256 = read_metadata(content).get(_SHA256)
    if recorded_sha256 is not None and recorded_sha256 != _sha256(state):
        raise InputError(
            f"{path}: is damaged (its sha256 is not the one in its header); restore it from a copy"
        )
    return state


def read_metadata(content: bytes) -> dict[str, str]:
    """What the header of a safetensors file that is whole says beside its tensors."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return dict(header.get("__metadata__", {}))


def load_weights(model: nn.Module, path: Path, *, spec: ArchSpec | None = None) -> None:
    """Read weights into `model`. With the `spec` that it is built from, also from a file in timm's
    or torchvision's names.

    Raises InputError where the file is no whole safetensors file or of another network.
    """
    state = read_weights(path)
    if spec is not None:
        try:
            state = to_phinas_state_dict(state, spec)
        except WeightsError as error:
            raise InputError(f"{path}: {error}") from None
    _load_checked(model, state, path)


def load_pretrained(model: nn.Module, path: Path, *, spec: ArchSpec) -> int:
    """Read weights to begin with into a network of `spec`, as `load_weights` does; a classifier of
    another number of classes is left as it was drawn. Returns how many the file's tells apart."""
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
            shapes = [
                tuple(tensor.shape) if tensor is not None else "absent"
                for tensor in (actual, expected_tensor)
            ]
            raise InputError(
                f"{path}: {name} is {shapes[0]} in the file and {shapes[1]} in the network: "
                "weights of another spec"
            )
    model.load_state_dict(state)
