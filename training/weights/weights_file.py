"""Read the tensors of a weights file: safetensors, or what `torch.save` writes.

Files of `torch.save` are unpickled with `weights_only=True`, which builds tensors and plain data
and runs no code. A safetensors file of phinas has a sha256 of its tensors in its header, since the
format itself does not detect a flipped byte.
"""

import argparse
import hashlib
import json
import pathlib
import pickle
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from phinas.experiment.errors import InputError
from phinas.space.interchange.checkpoint_contents import CheckpointContents, find_state_dict
from phinas.space.interchange.state_dict_namings import WeightsError
from phinas.training.weights.file_formats import describe_other_format

SHA256 = "phinas.sha256"
_UNPICKLING_ERROR = "WeightsUnpickler error: "
_ADVICE = " Check the documentation"
_MAX_REASON = 120  # characters of a reason that torch gives
_ZIP = b"PK\x03\x04"
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
# What unpickles a number and an array of numpy, and its names in files of numpy 1 and 2.
_NUMPY_FUNCTIONS: dict[str, Any] = {
    "scalar": np.float64(0).__reduce__()[0],
    "_reconstruct": np.ones(0).__reduce__()[0],
}
# Plain data that training programs save beside the weights.
_PLAIN_CLASSES: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    pathlib.PosixPath,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")),
    *(
        (function, f"numpy.{core}.multiarray.{name}")
        for name, function in _NUMPY_FUNCTIONS.items()
        for core in ("core", "_core")
    ),
]


@dataclass(frozen=True)
class WeightsFile:
    """A weights file.

    Attributes:
        contents: the state dict that was found in it.
        metadata: the metadata of a safetensors file.
    """

    contents: CheckpointContents
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_weights(path: Path) -> WeightsFile:
    """Read a weights file.

    Raises:
        InputError: the file is missing, unreadable or damaged, has another format, or holds no
            state dict in a known naming.
    """
    metadata: dict[str, str] = {}
    with _readable(path):
        with path.open("rb") as file:
            is_pickle = file.read(4).startswith((_ZIP, *_PICKLES))
        content: object
        if is_pickle:
            content = _unpickle(path)
        else:
            content, metadata = _read_safetensors(path)
    try:
        contents = find_state_dict(content)
        _check_values(contents.tensors)
    except WeightsError as error:
        raise InputError(f"{path}: {error}") from None
    return WeightsFile(contents, metadata)


def read_weights_as_saved(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, by the names that they have in it.

    Raises:
        InputError: the file is missing, unreadable or damaged, or has another format.
    """
    with _readable(path):
        return _read_safetensors(path)[0]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises InputError where the file cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: the weights file does not exist; check the path") from None
    except IsADirectoryError:
        raise InputError(
            f"{path}: is a folder without model.safetensors and pytorch_model.bin; name the "
            "weights file"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: the weights file cannot be read ({error.strerror})") from None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    content = path.read_bytes()
    try:
        state = load(content)
    except SafetensorError as error:
        description = describe_other_format(path) or (
            f"is neither a complete safetensors file ({error}) nor a file of torch.save; "
            "name another file, or download it again"
        )
        raise InputError(f"{path}: {description}") from None
    metadata = read_metadata(content)
    recorded_sha256 = metadata.get(SHA256)
    if recorded_sha256 is not None and recorded_sha256 != hash_tensors(state):
        raise InputError(
            f"{path}: is damaged (its sha256 differs from the one in its header); restore it from "
            "a copy"
        )
    return state, metadata


def read_metadata(content: bytes) -> dict[str, str]:
    """Read the metadata in the header of an intact safetensors file."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return dict(header.get("__metadata__", {}))


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names and bytes; types and shapes are checked by the loader."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unpickle(path: Path) -> object:
    other_format = describe_other_format(path)
    if other_format:
        raise InputError(f"{path}: {other_format}")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_PLAIN_CLASSES):
            warnings.simplefilter("ignore")  # old formats of tensors
            with path.open("rb") as file:  # by a path, torch would decide by its ending
                return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {_describe_refusal(str(error))}") from None
    except Exception as error:  # torch raises many kinds of errors for damaged files
        reason = f"{type(error).__name__}: {_shorten(str(error))}"
        raise InputError(f"{path}: {_describe_damage(reason)}") from None


def _describe_refusal(reason: str) -> str:
    marker = "Unsupported global: GLOBAL "
    if marker in reason:
        name = reason.partition(marker)[2].split()[0]
        return (
            f"holds an object of {name}, which may run code when it is read; save only the tensors "
            "with torch.save(model.state_dict(), FILE)"
        )
    return _describe_damage(_shorten(reason))


def _describe_damage(reason: str) -> str:
    return (
        f"is not a complete file of torch.save ({reason}); name another file, or download it again"
    )


def _shorten(reason: str) -> str:
    """The first sentence of torch's reason, or its first words where that is long."""
    reason = " ".join(reason.split()).rpartition(_UNPICKLING_ERROR)[2]
    sentence = reason.partition(_ADVICE)[0].partition(". ")[0].rstrip(".")
    return textwrap.shorten(sentence, _MAX_REASON, placeholder=" ...")


def _check_values(tensors: Mapping[str, Tensor]) -> None:
    """Raises WeightsError for tensors that no network can have."""
    for name, tensor in tensors.items():
        is_count = name.endswith("num_batches_tracked")
        is_wide = tensor.is_floating_point() and tensor.element_size() > 1
        if tensor.layout != torch.strided or not (is_wide or is_count):
            raise WeightsError(
                f"{name} has the type {tensor.dtype} and should have floating-point numbers of 16 "
                "bits or more; save the weights before they are quantized"
            )
        if not is_count and not torch.isfinite(tensor).all():
            raise WeightsError(f"{name} has values that are not finite; use other weights")
