"""The images of a split as batches on the device.

A resident set lies on the device. It is resized once, and a batch is one gather, which a CUDA graph
may contain. A streamed set stays in its file. A batch is read into pinned memory and resized on the
device. Both result in bit-identical batches.

Images are stored as (N, S, S, C), and a batch is rows of that, permuted. This is PyTorch's
channels_last memory format, which convolutions prefer, without a copy.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from phinas.training.augmentation.transforms import resize

_GPU_MEMORY_FRACTION = 0.4  # of the free memory; the rest is for the network
_HOST_MEMORY_FRACTION = 0.25  # of all memory, because several trainings run on a CPU at a time
_CHUNK_BYTES = 1 << 26  # read at a time while a set is made resident
_trainings_per_gpu = 1  # see `set_gpu_sharing`


def set_gpu_sharing(trainings: int) -> None:
    """Set the number of trainings that share a GPU, so that the images of all of them fit."""
    global _trainings_per_gpu
    _trainings_per_gpu = trainings


def fits_in_memory(size: int, device: torch.device) -> bool:
    """Whether images may be resident on a device.

    The limit is 40% of a GPU's free memory, divided by the number of trainings that share the GPU,
    or a quarter of the machine's memory. Where that is unknown, images are never resident.

    Args:
        size: Size of the images in bytes.
        device: The device.
    """
    if device.type == "cuda":
        # Memory that torch holds but does not use is free, too.
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + reserved
        return size <= _GPU_MEMORY_FRACTION * free / _trainings_per_gpu
    if not hasattr(os, "sysconf"):
        return False
    return size <= _HOST_MEMORY_FRACTION * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class _File(NamedTuple):
    """A version of a file."""

    path: Path
    modified: int
    size: int

    @classmethod
    def of(cls, images: np.ndarray) -> Self | None:
        """The file that an array is mapped to; None for an array in memory."""
        filename = getattr(images, "filename", None)
        if filename is None:
            return None
        status = Path(filename).stat()
        return cls(Path(filename), status.st_mtime_ns, status.st_size)


class _LoadedPixels:
    """The resident images of the files of one data set, each at the resolution of its last use."""

    def __init__(self) -> None:
        self._pixels: dict[_File, tuple[int, torch.device, Tensor]] = {}

    def find(self, file: _File | None, resolution: int, device: torch.device) -> Tensor | None:
        """The images of a file, if they are still loaded. Those of another resolution are freed."""
        if file is None:
            return None
        if file in self._pixels and self._pixels[file][:2] == (resolution, device):
            return self._pixels[file][2]
        self._pixels = {
            other: entry
            for other, entry in self._pixels.items()
            if other.path != file.path and other.path.parent == file.path.parent
        }
        return None

    def add(
        self, file: _File | None, resolution: int, device: torch.device, pixels: Tensor
    ) -> None:
        if file is not None:
            self._pixels[file] = resolution, device, pixels


_loaded_pixels = _LoadedPixels()


class ImageBatches:
    """The images of a split, of which any batch can be taken.

    Args:
        images: uint8 (N, S, S, C), memory-mapped or in memory.
        labels: Integers (N,), class indices.
        resolution: Height and width of the batches, in px.
        device: The device of the batches.
        resident: Whether all images lie on the device. None decides by `fits_in_memory`.
        keep_pixels: Keep the resident images of a memory-mapped file on the device, for the next
            training of this process with the same resolution.

    Attributes:
        labels: int64 (N,) on the device.
        count: N, the number of images.
        resolution: Height and width of the batches, in px.
        resident: Whether all images lie on the device.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        resolution: int,
        device: torch.device,
        resident: bool | None = None,
        keep_pixels: bool = False,
    ) -> None:
        self._file = _File.of(images) if keep_pixels else None
        self._source = images
        # A plain array instead of np.memmap: numpy reads it without Python code, which would make
        # the main thread wait for the prefetch thread.
        self._images = np.asarray(images)
        self._label_array = labels
        self._requested_resident = resident
        self.resolution = resolution
        self._device = device
        self.labels = torch.from_numpy(np.array(labels, dtype=np.int64)).to(device)
        self.count = len(images)
        self._shape = (self.count, resolution, resolution, images.shape[3])
        loaded = _loaded_pixels.find(self._file, resolution, device)
        self.resident = (
            loaded is not None or fits_in_memory(int(np.prod(self._shape)), device)
            if resident is None
            else resident
        )
        self._pixels = None
        if self.resident:
            self._pixels = self._load() if loaded is None else loaded
            _loaded_pixels.add(self._file, resolution, device, self._pixels)
        self._prefetch_pool: ThreadPoolExecutor | None = None
        self._prefetched: tuple[np.ndarray, Future[Tensor]] | None = None

    def at_resolution(self, resolution: int) -> "ImageBatches":
        """The same images in batches of another resolution."""
        if resolution == self.resolution:
            return self
        return ImageBatches(
            self._source,
            self._label_array,
            resolution=resolution,
            device=self._device,
            resident=self._requested_resident,
            keep_pixels=self._file is not None,
        )

    def take(self, indices: Tensor) -> Tensor:
        """The images with the given indices.

        Args:
            indices: int64 (n,), on the device for a resident set. A streamed set reads them on the
                host, so they should be on the CPU.

        Returns:
            uint8 (n, C, resolution, resolution) in channels_last memory format, on the device.

        Raises:
            IndexError: An index of a streamed set is out of range, or of a resident set on the CPU.
        """
        if self._pixels is not None:
            return self._pixels.index_select(0, indices).permute(0, 3, 1, 2)
        positions = self._validate_indices(indices)
        prefetched, self._prefetched = self._prefetched, None
        matches = prefetched is not None and np.array_equal(prefetched[0], positions)
        rows = (
            prefetched[1].result()
            if prefetched is not None and matches
            else self._read(positions, self._allocate_buffer(len(positions)))
        )
        return self._resize(rows)

    def prefetch(self, indices: Tensor) -> None:
        """Start to read the batch of the next `take` in a thread. A resident set needs none.

        The thread makes no CUDA calls, so a CUDA graph may be captured at the same time.
        """
        if self.resident:
            return
        if self._prefetch_pool is None:
            self._prefetch_pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        positions = self._validate_indices(indices)
        buffer = self._allocate_buffer(len(positions))
        self._prefetched = positions, self._prefetch_pool.submit(self._read, positions, buffer)

    def _load(self) -> Tensor:
        """All images on the device, uint8 (N, resolution, resolution, C)."""
        pixels = torch.empty(self._shape, dtype=torch.uint8, device=self._device)
        step = max(1, _CHUNK_BYTES // self._images[0].nbytes)
        for start in range(0, self.count, step):
            rows = torch.from_numpy(np.array(self._images[start : start + step]))
            pixels[start : start + step] = self._resize(rows).permute(0, 2, 3, 1)
        return pixels

    def _resize(self, rows: Tensor) -> Tensor:
        return resize(rows.to(self._device, non_blocking=True).permute(0, 3, 1, 2), self.resolution)

    def _validate_indices(self, indices: Tensor) -> np.ndarray:
        positions = indices.cpu().numpy()
        if len(positions) and not 0 <= positions.min() <= positions.max() < self.count:
            raise IndexError(
                f"indices from {positions.min()} to {positions.max()} are outside 0 to "
                f"{self.count - 1}"
            )
        return positions

    def _allocate_buffer(self, count: int) -> Tensor:
        """Memory for images at their stored size, pinned for a GPU.

        torch does not reuse pinned memory before the copies from it have finished.
        """
        return torch.empty(
            (count, *self._images.shape[1:]),
            dtype=torch.uint8,
            pin_memory=self._device.type == "cuda",
        )

    def _read(self, indices: np.ndarray, buffer: Tensor) -> Tensor:
        # The mode "clip" writes to the buffer directly. The indices are already checked.
        np.take(self._images, indices, axis=0, out=buffer.numpy(), mode="clip")
        return buffer
