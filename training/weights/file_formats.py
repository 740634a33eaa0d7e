"""What a file is that is no weights file of a known format, by its first bytes."""

import json
import zipfile
from pathlib import Path

_FIRST_BYTES = 512
# The beginning of a file, what it is, and what to do.
_BEGINNINGS = (
    (b"\x89HDF\r\n", "an HDF5 file (Keras or TensorFlow)", "convert the weights to PyTorch"),
    (b"\x08", "an ONNX file", "use the PyTorch weights that it was made from"),
    (b"version https://git-lfs", "a pointer of Git LFS", "download the file with git lfs pull"),
    (b"<", "a web page", "download the file itself"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
)
_TFLITE = b"TFL3"
_DOWNLOAD_AGAIN = "name another file, or download it again"


def describe_other_format(path: Path) -> str:
    """What a file is, and what to do, for the end of an error message.

    Args:
        path: A file that is neither safetensors nor of torch.save.

    Returns:
        A text such as "is an ONNX file; use the PyTorch weights that it was made from"; "" where
        the format is unknown.
    """
    with path.open("rb") as file:
        beginning = file.read(_FIRST_BYTES)
    if not beginning:
        return f"is empty; {_DOWNLOAD_AGAIN}"
    if beginning[8:9] == b"{":  # safetensors, after the length of its header
        return ""
    if zipfile.is_zipfile(path):
        return _describe_zip(path)
    if beginning[4:8] == _TFLITE:
        return "is a TensorFlow Lite file; convert the weights to PyTorch"
    if beginning.lstrip().startswith(b"{"):
        return _describe_json(path)
    if path.suffix == ".msgpack":
        return "is a msgpack file (Flax); convert the weights to PyTorch"
    for start, description, remedy in _BEGINNINGS:
        if beginning.lstrip().startswith(start):
            return f"is {description}; {remedy}"
    return ""


def _describe_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return ""
    if any(name.endswith("constants.pkl") for name in names):
        return "is a TorchScript archive; save the state_dict() of the model instead"
    if any(name.endswith("data.pkl") for name in names):
        return ""
    if any(name.endswith(".weights.h5") for name in names):
        return "is a Keras file; convert the weights to PyTorch"
    if names and all(name.endswith(".npy") for name in names):
        return "is a NumPy archive; save the weights with torch.save or safetensors"
    return "is a zip archive without weights of torch.save; unpack it first"


def _describe_json(path: Path) -> str:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return ""
    if isinstance(content, dict) and "weight_map" in content:
        return (
            "is the index of weights in several files; save all tensors in one safetensors file "
            "and name that"
        )
    return "is a JSON file; name the weights file beside it"
