"""The arrays of an .npz file, which may be damaged or larger than the memory.

An array that is too large for the memory is unpacked to a temporary file and mapped from there.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.pixel_array import fits_in_memory


class NpzFile:
    """An open .npz file, whose arrays are read one by one. Every kind of damage is an InputError.

    Attributes:
        path: The file.
        keys: The keys of the arrays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("rb")  # np.load(path) does not close a file that it cannot read.
        try:
            self._file: Any = np.load(self._stream, allow_pickle=False)
        except Exception as error:  # Parsers of NumPy and zipfile may raise anything on damage.
            self._stream.close()
            raise self._damaged(error) from None
        if not isinstance(self._file, np.lib.npyio.NpzFile):
            self._stream.close()
            raise InputError(
                f"{path} is a single array, not an .npz file; write it with np.savez(path, "
                "images=x, labels=y)"
            )
        self.keys: list[str] = list(self._file.files)

    def __enter__(self) -> "NpzFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self._stream.close()

    def find(self, candidates: Sequence[str]) -> str | None:
        """The first key that the file has, in upper or lower case, with or without underscores."""
        exact = next((name for name in candidates if name in self.keys), None)
        if exact is not None:
            return exact
        by_name = {_simplify(key): key for key in reversed(self.keys)}
        return next(
            (by_name[_simplify(name)] for name in candidates if _simplify(name) in by_name), None
        )

    def require(self, key: str | None, kind: str, split: str, candidates: Sequence[str]) -> str:
        """The key, which must not be None."""
        if key is not None:
            return key
        subject = kind if split == "train" else f"{split} {kind}"
        field = "data.image_column" if kind == "images" else "data.label_column"
        raise InputError(
            f"{self.path} has no {subject}, only the keys {', '.join(self.keys) or 'none'}; store "
            f"the {subject} under one of the keys {', '.join(candidates)}, or name the key of the "
            f"training {kind} by {field}"
        )

    def read(self, key: str) -> np.ndarray:
        """The array of a key."""
        try:
            return self._read(key)
        except InputError:
            raise
        except Exception as error:  # See above.
            raise self._damaged(error, key) from None

    def _read(self, key: str) -> np.ndarray:
        member = f"{key}.npy" if f"{key}.npy" in self._file.zip.namelist() else key
        info = self._file.zip.getinfo(member)
        formats = np.lib.format
        with self._file.zip.open(info) as stream:
            version = formats.read_magic(stream)
            readers = {
                (1, 0): formats.read_array_header_1_0,
                (2, 0): formats.read_array_header_2_0,
            }
            if version not in readers:
                raise ValueError(f"the array format {version} is not supported")
            shape, is_fortran, dtype = readers[version](stream)
            if dtype.hasobject:
                raise InputError(
                    f"{self.path}: {key} contains Python objects, which are not loaded for "
                    "safety; store an array of numbers"
                )
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            # The header alone decides how much memory is allocated.
            if info.file_size - stream.tell() != size:
                raise ValueError(
                    f"its header says {size:,} bytes, and it has {info.file_size - stream.tell():,}"
                )
            if fits_in_memory(size):
                return np.asarray(self._file[key])
            return _unpack(
                f"{self.path}: {key}", stream, shape, dtype, order="F" if is_fortran else "C"
            )

    def _damaged(self, error: Exception, key: str = "") -> InputError:
        where = f"{self.path}: {key}: " if key else f"{self.path}: "
        reason = " ".join(str(error).split()) or type(error).__name__
        return InputError(
            f"{where}is not a valid .npz file ({reason}); write it again with np.savez(path, "
            "images=x, labels=y)"
        )


def _simplify(key: str) -> str:
    return key.lower().replace("_", "")


def _unpack(
    where: str, stream: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *, order: Any
) -> np.ndarray:
    """An array of a stream, mapped from a temporary file without a name."""
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{where} needs {size / 1e9:,.1f} GB; this machine has too little memory, and "
            f"{folder} has {free / 1e9:,.1f} GB free; set TMPDIR to a folder on a larger disk"
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        shutil.copyfileobj(stream, file)
        return np.memmap(file, dtype, mode="r", shape=shape, order=order)
