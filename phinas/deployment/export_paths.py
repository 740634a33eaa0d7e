"""The formats of `phinas export` and the names of their files. Imports no heavy library, so a wrong
name is refused at once.
"""

import keyword
import sys
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.output_file import check_output_file

# The formats, and the ending of their files.
FORMATS = {"onnx": ".onnx", "torch": ".py", "timm": ".safetensors", "torchvision": ".safetensors"}
_FORMAT_BY_SUFFIX = {".onnx": "onnx", ".py": "torch"}


def choose_format(to: str | None, path: Path) -> str:
    """The format of an export.

    Args:
        to: The requested format. None: by the ending of the file.
        path: The file.

    Raises:
        InputError: The format is unknown, or the ending of the file is of another one.
    """
    if to is not None and to not in FORMATS:
        raise InputError(f"--to: {to!r} is not one of {', '.join(FORMATS)}")
    to = to or _FORMAT_BY_SUFFIX.get(path.suffix)
    if to is None:
        raise InputError(
            f"--out: {str(path)!r} does not determine the format; write NAME.onnx, NAME.py, or "
            "NAME.safetensors with --to timm or --to torchvision"
        )
    if path.suffix != FORMATS[to]:
        raise InputError(
            f"--out: {str(path)!r} does not end in {FORMATS[to]}, which --to {to} needs; change "
            "one of them"
        )
    return to


def require_legal_paths(path: Path, *, to: str, weights: Path | None) -> None:
    """Check the paths of an export.

    Args:
        path: The file.
        to: The format.
        weights: The file of the weights to export.

    Raises:
        InputError: The file would overwrite the weights, cannot be written, or its name is not
            legal.
    """
    written = {path, path.with_suffix(".safetensors")} if to == "torch" else {path}
    if weights is not None and weights.expanduser().resolve() in {
        each.resolve() for each in written
    }:
        raise InputError(
            f"--out: {str(path)!r} would overwrite the file of --weights; use another name"
        )
    for each in sorted(written):
        check_output_file(each, option="--out")
    if to == "torch":
        _require_module_name(path)


def _require_module_name(path: Path) -> None:
    name, weights = path.stem, path.with_suffix(".safetensors")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(
            f"--out: {path}: is not a name that Python can import; use letters, digits and _, and "
            "the suffix .py"
        )
    if name in ("torch", "PIL") or name in sys.stdlib_module_names:
        raise InputError(
            f"--out: {path}: would shadow the module {name!r}, which it imports; use another name"
        )
    if weights.exists() and not path.exists():
        raise InputError(
            f"--out: {weights}: exists without {path.name}, so it is not an earlier export; use "
            "another name"
        )
