"""The memory allocator of the C library during a training on the CPU.

By default glibc returns freed memory to the system at once, and every step faults its pages in
again. Measured for steps of EfficientNet-B0 at 96 px with 32 images: 36,000 page faults and 54 ms
of system time a step by default, 2 faults and no system time with freed memory kept, at 2% more
peak memory (benchmarks/threads.md). On a busy machine the difference is larger.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt
_MAX_FREE_BYTES = 2**30  # free memory above this is returned to the system
_MAX_HEAP_BLOCK = 2**25  # the largest threshold that glibc accepts on 64-bit systems


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory for the next allocation, and return it to the system at the end.

    The thresholds stay set in this process. Without glibc nothing is changed.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_M_MMAP_THRESHOLD, _MAX_HEAP_BLOCK)
    library.mallopt(_M_TRIM_THRESHOLD, _MAX_FREE_BYTES)
    try:
        yield
    finally:
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
