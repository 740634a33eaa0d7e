"""A split's images as batches on the device: all of them there at once where they fit, else read
from their file as they come.

The one decision to know: images stay as they are stored, (N, S, S, C), and a batch is rows of that,
permuted: channels last in memory, which is what convolutions want, with no copy. Resident or
streamed, a batch is the same to the bit. A resident set is resized once and a batch is one gather
on the device, which a CUDA graph may hold; a streamed one is read into pinned memory and resized on
the device.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from phinas.training.augmentation.transforms import resize

_GPU_MEMORY_FRACTION = 0.4  # of the free memory; the rest is for the network
_trainings_per_gpu = 1  # trainings on one GPU, each with its share: `set_gpu_sharing` says so
_HOST_MEMORY_FRACTION = 0.25  # of all memory; trainings run side by side on a CPU
_CHUNK_BYTES = 1 << 26  # read at a time while a set is made resident


def set_gpu_sharing(trainings: int) -> None:
    """From here on, of images on a GPU: so many trainings are to have room for theirs."""
    global _trainings_per_gpu
    _trainings_per_gpu = trainings


def fits_in_memory(size: int, device: torch.device) -> bool:
    """Whether `size` bytes of images may stay on `device`: 40% of a GPU's free memory, that of all
    who share it, else a quarter of the machine's."""
    if device.type == "cuda":
        # by torch, for later
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (
            size
            <= _GPU_MEMORY_FRACTION
            * (torch.cuda.mem_get_info(device)[0] + reserved)
            / _trainings_per_gpu
        )
    if not hasattr(os, "sysconf"):
        return False
    return size <= _HOST_MEMORY_FRACTION * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class ImageBatches:
    """labels: int64 (N,) on the device; count: images; resolution: of a batch's; resident: all of
    them lie on the device.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        resolution: int,
        device: torch.device,
        resident: bool | None = None,
    ) -> None:
        """images: uint8 (N, S, S, C), mapped or in memory; resolution: of the batches; resident:
        None goes by `fits_in_memory`.
        """
        # of a map: reading it is numpy's own work, which other threads need not wait for
        self._images = np.asarray(images)
        self._label_array, self._requested_resident, self.resolution, self._device = (
            labels,
            resident,
            resolution,
            device,
        )
        self.labels = torch.from_numpy(np.array(labels, dtype=np.int64)).to(device)
        self.count = len(images)
        self._shape = (self.count, resolution, resolution, images.shape[3])
        self.resident = (
            fits_in_memory(int(np.prod(self._shape)), device) if resident is None else resident
        )
        self._pixels = self._load() if self.resident else None
        self._prefetch_pool: ThreadPoolExecutor | None = None
        self._prefetched: tuple[np.ndarray, Future[Tensor]] | None = None

    def at_resolution(self, resolution: int) -> "ImageBatches":
        """The same images at another resolution."""
        if resolution == self.resolution:
            return self
        return ImageBatches(
            self._images,
            self._label_array,
            resolution=resolution,
            device=self._device,
            resident=self._requested_resident,
        )

    def take(self, indices: Tensor) -> Tensor:
        """uint8 (n, C, resolution, resolution), channels last in memory, of int64 (n,).

        Resident: `indices` lie on the device, and nothing waits. Streamed: it lies best on the CPU,
        for the host reads by it.
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
        """Start to read what the next `take` will be of, on a thread; where the set is resident
        there is nothing to do.

        The thread makes no call of CUDA, so a graph may be captured meanwhile.
        """
        if self.resident:
            return
        if self._prefetch_pool is None:
            self._prefetch_pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        positions = self._validate_indices(indices)
        buffer = self._allocate_buffer(len(positions))
        self._prefetched = positions, self._prefetch_pool.submit(self._read, positions, buffer)

    def _load(self) -> Tensor:
        """All images at `resolution` on the device, as (N, S, S, C)."""
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
                f"images {positions.min()} to {positions.max()} were asked for, of {self.count}"
            )
        return positions

    def _allocate_buffer(self, count: int) -> Tensor:
        """Pinned memory for a GPU; torch keeps it from being used again before what is copied from
        it has arrived.
        """
        return torch.empty(
            (count, *self._images.shape[1:]),
            dtype=torch.uint8,
            pin_memory=self._device.type == "cuda",
        )

    def _read(self, indices: np.ndarray, buffer: Tensor) -> Tensor:
        # "clip" writes straight into the buffer; the indices were checked.
        np.take(self._images, indices, axis=0, out=buffer.numpy(), mode="clip")
        return buffer
