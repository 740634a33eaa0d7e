"""Tests of batches of resident and of streamed images."""

import os

import numpy as np
import pytest
import torch

from phinas.training.augmentation.transforms import resize
from phinas.training.data import dataloader
from phinas.training.data.dataloader import ImageBatches, fits_in_memory, set_gpu_sharing
from phinas.training.engine.device import workers_sharing_gpu

CPU = torch.device("cpu")
COUNT, SIZE = 60, 20


@pytest.fixture(params=[1, 3])
def images(request, tmp_path):
    """Memory-mapped images, like those of prepared data."""
    pixels = np.random.default_rng(0).integers(
        0, 256, (COUNT, SIZE, SIZE, request.param), dtype=np.uint8
    )
    np.save(tmp_path / "images.npy", pixels)
    return np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)


LABELS = np.arange(COUNT, dtype=np.int16) % 7


def make_batches(images, *, resolution=SIZE, resident=None):
    return ImageBatches(images, LABELS, resolution=resolution, device=CPU, resident=resident)


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(dataloader, "_loaded_pixels", dataloader._LoadedPixels())


@pytest.fixture
def count_loads(monkeypatch):
    """Function that makes batches that keep their pixels, and counts how often images are read."""
    loads = []
    load = ImageBatches._load
    monkeypatch.setattr(
        ImageBatches, "_load", lambda batches: loads.append(batches.resolution) or load(batches)
    )

    def make(images, resolution, *, keep_pixels=True):
        batches = ImageBatches(
            images, LABELS, resolution=resolution, device=CPU, keep_pixels=keep_pixels
        )
        return batches, loads

    return make


@pytest.mark.usefixtures("nothing_loaded")
def test_the_next_training_finds_the_images_of_the_last_one(images, count_loads, tmp_path):
    first, loads = count_loads(images, SIZE)
    second, _ = count_loads(np.load(images.filename, mmap_mode="r"), SIZE)
    assert loads == [SIZE]
    assert torch.equal(first.take(random_indices()), second.take(random_indices()))
    count_loads(images, 7)  # frees those of the old resolution
    count_loads(images, SIZE)[0].at_resolution(7)
    assert loads == [SIZE, 7, SIZE, 7]
    count_loads(images, 7, keep_pixels=False)
    count_loads(np.array(images), 7)  # an array in memory may change
    assert loads[4:] == [7, 7]


@pytest.mark.usefixtures("nothing_loaded")
def test_a_changed_file_and_another_data_set_are_read_again(images, count_loads, tmp_path):
    first, loads = count_loads(images, SIZE)
    changed = 255 - np.array(images)
    np.save(tmp_path / "new.npy", changed)
    (tmp_path / "new.npy").replace(images.filename)
    second, _ = count_loads(np.load(images.filename, mmap_mode="r"), SIZE)
    assert len(loads) == 2
    assert torch.equal(second.take(random_indices()), 255 - first.take(random_indices()))
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "images.npy", changed)
    count_loads(np.load(tmp_path / "other" / "images.npy", mmap_mode="r"), SIZE)
    count_loads(np.load(images.filename, mmap_mode="r"), SIZE)
    assert len(loads) == 4


def random_indices(count=25, seed=0):
    return torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))[:count]


def stored_images(images, indices):
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)[indices]


@pytest.mark.parametrize("resident", [True, False])
def test_batch_has_the_requested_images_in_channels_last_format(images, resident):
    batch = make_batches(images, resident=resident).take(random_indices())
    assert batch.dtype == torch.uint8
    assert torch.equal(batch, stored_images(images, random_indices()))
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("resident", [True, False])
def test_labels_and_count_are_those_of_the_split(images, resident):
    all_batches = make_batches(images, resident=resident)
    assert all_batches.labels.dtype == torch.int64
    assert all_batches.labels.tolist() == LABELS.tolist()
    assert all_batches.count == COUNT
    assert all_batches.resident is resident


@pytest.mark.parametrize("resolution", [7, SIZE, 33])
@pytest.mark.parametrize("count", [1, 25])
def test_resident_and_streamed_batches_are_bit_identical(images, resolution, count):
    resident, streamed = (
        make_batches(images, resolution=resolution, resident=resident).take(random_indices(count))
        for resident in (True, False)
    )
    assert resident.shape == (count, images.shape[3], resolution, resolution)
    assert torch.equal(resident, streamed)
    assert resident.stride() == streamed.stride()


@pytest.mark.parametrize("resident", [True, False])
def test_batches_of_another_resolution_are_resized_stored_images(images, resident):
    small = make_batches(images, resolution=5, resident=resident)
    batch = small.at_resolution(10).take(random_indices())
    assert torch.equal(batch, resize(stored_images(images, random_indices()), 10))
    assert small.at_resolution(10).resident is resident
    assert small.at_resolution(5) is small


def test_prefetched_batch_has_the_requested_images(images):
    streamed = make_batches(images, resolution=9, resident=False)
    expected = [streamed.take(random_indices(seed=seed)) for seed in range(4)]
    streamed.prefetch(random_indices(seed=0))
    for seed in range(4):
        batch = streamed.take(random_indices(seed=seed))
        streamed.prefetch(random_indices(seed=seed + 1))
        assert torch.equal(batch, expected[seed])


def test_batch_other_than_the_prefetched_one_has_the_requested_images(images):
    streamed = make_batches(images, resident=False)
    streamed.prefetch(random_indices(seed=0))
    assert torch.equal(
        streamed.take(random_indices(seed=1)), stored_images(images, random_indices(seed=1))
    )


def test_batch_is_not_overwritten_by_the_next_one(images):
    streamed = make_batches(images, resident=False)
    first = streamed.take(random_indices(seed=0))
    streamed.prefetch(random_indices(seed=1))
    streamed.take(random_indices(seed=1))
    assert torch.equal(first, stored_images(images, random_indices(seed=0)))


@pytest.mark.parametrize("resident", [True, False])
def test_modifying_a_batch_does_not_modify_the_images(images, resident):
    all_batches = make_batches(images, resident=resident)
    all_batches.take(random_indices()).zero_()
    assert torch.equal(all_batches.take(random_indices()), stored_images(images, random_indices()))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("index", [-1, COUNT])
def test_index_out_of_range_is_an_error(images, resident, index):
    with pytest.raises(IndexError):
        make_batches(images, resident=resident).take(torch.tensor([0, index]))


def test_images_up_to_a_quarter_of_the_host_memory_fit():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert fits_in_memory(memory // 4, CPU)
    assert not fits_in_memory(memory // 4 + 1, CPU)


def test_images_up_to_forty_percent_of_the_free_gpu_memory_fit_divided_among_workers(monkeypatch):
    memory = {
        "mem_get_info": (900, 2000),
        "memory_reserved": 150,
        "memory_allocated": 50,
        "device_count": 2,
    }
    for name, value in memory.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_device, value=value: value)
    gpu = torch.device("cuda", 0)
    # Memory that torch has reserved but not allocated counts as free: 900 + 150 - 50 bytes.
    assert (fits_in_memory(400, gpu), fits_in_memory(401, gpu)) == (True, False)
    monkeypatch.setenv("PHINAS_NUM_WORKERS", "7")  # four on one GPU, three on the other
    assert (workers_sharing_gpu("auto"), workers_sharing_gpu("cuda:1")) == (4, 7)
    monkeypatch.setattr(dataloader, "_trainings_per_gpu", 1)  # restored after the test
    set_gpu_sharing(workers_sharing_gpu("auto"))
    assert (fits_in_memory(100, gpu), fits_in_memory(101, gpu)) == (True, False)


def test_split_is_resident_if_it_fits_at_the_batch_resolution(images, monkeypatch):
    # A quarter of this memory holds the images at a resolution of 10 px.
    num_pages = COUNT * 10 * 10 * images.shape[3]
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4, "SC_PHYS_PAGES": num_pages}.__getitem__)
    assert make_batches(images, resolution=10).resident
    assert not make_batches(images, resolution=11).resident
    assert not make_batches(images, resolution=10).at_resolution(11).resident


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resolution", [7, SIZE])
def test_prefetched_batches_on_a_gpu_are_identical_to_resident_ones(images, resolution):
    cuda = torch.device("cuda")
    resident, streamed = (
        ImageBatches(images, LABELS, resolution=resolution, device=cuda, resident=resident)
        for resident in (True, False)
    )
    for seed in range(20):
        streamed.prefetch(random_indices(seed=seed))
        assert torch.equal(
            streamed.take(random_indices(seed=seed)),
            resident.take(random_indices(seed=seed).to(cuda)),
        )
