"""Arrays of pixels in memory, or in a temporary file where memory is too small.

A temporary file has no name, so nothing is left behind, whatever happens to the process.
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from phinas.experiment.errors import InputError

# An array may fill this fraction of the memory: a run has two or three of them at a time.
MAX_MEMORY_FRACTION = 0.25
_CHUNK_BYTES = 1 << 26
SCRATCH_VARIABLE = "TMPDIR"


def memory_bytes() -> int | None:
    """The memory of this machine, or of the container where it is less. None where unknown."""
    if not hasattr(os, "sysconf"):
        return None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            memory = min(memory, int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # There is no such file, or it says "max".
            continue
    return memory


def fits_in_memory(size: int) -> bool:
    """Whether an array of so many bytes may be in memory."""
    memory = memory_bytes()
    return memory is None or size <= MAX_MEMORY_FRACTION * memory


def new_pixels(shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array, in memory or in a temporary file. Its content is undefined.

    Raises:
        InputError: The array fits neither into memory nor on the disk.
    """
    size = int(np.prod(shape, dtype=np.int64))
    if fits_in_memory(size):
        return np.empty(shape, np.uint8)
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"data.image_size: {shape[0]:,} images of {shape[1]} x {shape[2]} px need "
            f"{size / 1e9:,.1f} GB; this machine has too little memory, and {folder} has "
            f"{free / 1e9:,.1f} GB free; set a smaller data.image_size, or set "
            f"{SCRATCH_VARIABLE} to a folder on a larger disk"
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        # The map stays valid after the file is closed.
        return np.memmap(file, np.uint8, mode="w+", shape=shape)


def take_rows(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """`array[indices]`, in memory or in a temporary file. The copy is made in chunks."""
    if fits_in_memory(len(indices) * int(np.prod(array.shape[1:], dtype=np.int64))):
        return np.asarray(array[indices])
    rows = new_pixels((len(indices), *array.shape[1:]))
    step = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(indices), step):
        rows[start : start + step] = array[indices[start : start + step]]
    return rows
