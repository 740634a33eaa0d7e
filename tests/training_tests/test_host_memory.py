"""Tests of the C library's allocator during a training."""

import resource
import sys
from pathlib import Path

import pytest
import torch

from phinas.training.engine.host_memory import keep_freed_memory


def count_page_faults(repeats=20):
    """Page faults of allocating and freeing 20 MB several times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        torch.ones(5_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_freed_memory_is_used_again_without_page_faults():
    with keep_freed_memory():
        count_page_faults()  # the heap grows to its size
        faults = count_page_faults()
    pages = 20 * 20_000_000 / resource.getpagesize()
    assert faults < pages / 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_memory_is_returned_to_the_system_at_the_end():
    def resident_bytes():
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()

    with keep_freed_memory():
        tensors = [torch.ones(2_500_000) for _ in range(20)]
        with_tensors = resident_bytes()
        del tensors
    assert resident_bytes() < with_tensors - 100_000_000
