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

_CUDA_SHARE = 0.4  # of the free memory; the rest is for the network
_sharing = 1  # trainings on one GPU, each with its share: `share_gpu` says so
_HOST_SHARE = 0.25  # of all memory; trainings run side by side on a CPU
_CHUNK_BYTES = 1 << 26  # read at a time while a set is made resident


def share_gpu(trainings: int) -> None:
    """From here on, of images on a GPU: so many trainings are to have room for theirs."""
    global _sharing
    _sharing = trainings


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes of images may stay on `device`: 40% of a GPU's free memory, that of all
    who share it, else a quarter of the machine's."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
            device
        )  # by torch, for later
        return size <= _CUDA_SHARE * (torch.cuda.mem_get_info(device)[0] + kept) / _sharing
    if not hasattr(os, "sysconf"):
        return False
    return size <= _HOST_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Batches:
    """labels: int64 (N,) on the device; count: images; side: of a batch's; resident: all of them
    lie on the device.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        side: int,
        device: torch.device,
        resident: bool | None = None,
    ) -> None:
        """images: uint8 (N, S, S, C), mapped or in memory; side: of the batches; resident: None
        goes by `fits`.
        """
        self._stored = np.asarray(
            images
        )  # of a map: reading it is numpy's own work, which other threads need not wait for
        self._truth, self._asked, self.side, self._device = labels, resident, side, device
        self.labels = torch.from_numpy(np.array(labels, dtype=np.int64)).to(device)
        self.count = len(images)
        self._shape = (self.count, side, side, images.shape[3])
        self.resident = fits(int(np.prod(self._shape)), device) if resident is None else resident
        self._pixels = self._load() if self.resident else None
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: tuple[np.ndarray, Future[Tensor]] | None = None

    def at(self, side: int) -> "Batches":
        """The same images at another side."""
        if side == self.side:
            return self
        return Batches(
            self._stored, self._truth, side=side, device=self._device, resident=self._asked
        )

    def take(self, chosen: Tensor) -> Tensor:
        """uint8 (n, C, side, side), channels last in memory, of int64 (n,).

        Resident: `chosen` lies on the device, and nothing waits. Streamed: it lies best on the CPU,
        for the host reads by it.
        """
        if self._pixels is not None:
            return self._pixels.index_select(0, chosen).permute(0, 3, 1, 2)
        indices = self._checked(chosen)
        ahead, self._ahead = self._ahead, None
        matches = ahead is not None and np.array_equal(ahead[0], indices)
        rows = (
            ahead[1].result()
            if ahead is not None and matches
            else self._read(indices, self._buffer(len(indices)))
        )
        return self._to_side(rows)

    def prefetch(self, chosen: Tensor) -> None:
        """Start to read what the next `take` will be of, on a thread; where the set is resident
        there is nothing to do.

        The thread makes no call of CUDA, so a graph may be captured meanwhile.
        """
        if self.resident:
            return
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="batches")
        indices = self._checked(chosen)
        self._ahead = indices, self._reader.submit(self._read, indices, self._buffer(len(indices)))

    def _load(self) -> Tensor:
        """All images at `side` on the device, as (N, side, side, C)."""
        pixels = torch.empty(self._shape, dtype=torch.uint8, device=self._device)
        step = max(1, _CHUNK_BYTES // self._stored[0].nbytes)
        for start in range(0, self.count, step):
            rows = torch.from_numpy(np.array(self._stored[start : start + step]))
            pixels[start : start + step] = self._to_side(rows).permute(0, 2, 3, 1)
        return pixels

    def _to_side(self, rows: Tensor) -> Tensor:
        return resize(rows.to(self._device, non_blocking=True).permute(0, 3, 1, 2), self.side)

    def _checked(self, chosen: Tensor) -> np.ndarray:
        indices = chosen.cpu().numpy()
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.count:
            raise IndexError(
                f"images {indices.min()} to {indices.max()} were asked for, of {self.count}"
            )
        return indices

    def _buffer(self, count: int) -> Tensor:
        """Pinned memory for a GPU; torch keeps it from being used again before what is copied from
        it has arrived.
        """
        return torch.empty(
            (count, *self._stored.shape[1:]),
            dtype=torch.uint8,
            pin_memory=self._device.type == "cuda",
        )

    def _read(self, indices: np.ndarray, buffer: Tensor) -> Tensor:
        # "clip" writes straight into the buffer; the indices were checked.
        np.take(self._stored, indices, axis=0, out=buffer.numpy(), mode="clip")
        return buffer
