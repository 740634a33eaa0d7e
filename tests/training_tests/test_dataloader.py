"""Batches are the images that were asked for, the same whether they are resident or streamed."""

import os

import numpy as np
import pytest
import torch

from phinas.training.augmentation.transforms import resize
from phinas.training.data import dataloader as module
from phinas.training.data.dataloader import ImageBatches, fits_in_memory, set_gpu_sharing
from phinas.training.engine.device import workers_sharing_gpu

CPU = torch.device("cpu")
COUNT, SIDE = 60, 20


@pytest.fixture(params=[1, 3])
def images(request, tmp_path):
    """Mapped from a file, as prepared data are."""
    pixels = np.random.default_rng(0).integers(
        0, 256, (COUNT, SIDE, SIDE, request.param), dtype=np.uint8
    )
    np.save(tmp_path / "images.npy", pixels)
    return np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)


LABELS = np.arange(COUNT, dtype=np.int16) % 7


def batches(images, *, resolution=SIDE, resident=None):
    return ImageBatches(images, LABELS, resolution=resolution, device=CPU, resident=resident)


def chosen(count=25, seed=0):
    return torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))[:count]


def as_stored(images, indices):
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)[indices]


@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_is_the_images_chosen_with_the_channels_last_in_memory(images, resident):
    taken = batches(images, resident=resident).take(chosen())
    assert taken.dtype == torch.uint8
    assert torch.equal(taken, as_stored(images, chosen()))
    assert taken.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("resident", [True, False])
def test_labels_and_count_are_those_of_the_whole_set(images, resident):
    found = batches(images, resident=resident)
    assert found.labels.dtype == torch.int64
    assert found.labels.tolist() == LABELS.tolist()
    assert found.count == COUNT
    assert found.resident is resident


@pytest.mark.parametrize("resolution", [7, SIDE, 33])
@pytest.mark.parametrize("count", [1, 25])
def test_resident_and_streamed_batches_are_the_same_to_the_bit(images, resolution, count):
    resident, streamed = (
        batches(images, resolution=resolution, resident=resident).take(chosen(count))
        for resident in (True, False)
    )
    assert resident.shape == (count, images.shape[3], resolution, resolution)
    assert torch.equal(resident, streamed)
    assert resident.stride() == streamed.stride()


@pytest.mark.parametrize("resident", [True, False])
def test_at_another_side_the_images_are_those_stored_resized(images, resident):
    small = batches(images, resolution=5, resident=resident)
    taken = small.at_resolution(10).take(chosen())
    assert torch.equal(taken, resize(as_stored(images, chosen()), 10))
    assert small.at_resolution(10).resident is resident
    assert small.at_resolution(5) is small


def test_what_was_read_ahead_is_what_is_taken(images):
    streamed = batches(images, resolution=9, resident=False)
    plain = [streamed.take(chosen(seed=seed)) for seed in range(4)]
    streamed.prefetch(chosen(seed=0))
    for seed in range(4):
        taken = streamed.take(chosen(seed=seed))
        streamed.prefetch(chosen(seed=seed + 1))
        assert torch.equal(taken, plain[seed])


def test_a_batch_other_than_the_one_read_ahead_is_still_the_one_chosen(images):
    streamed = batches(images, resident=False)
    streamed.prefetch(chosen(seed=0))
    assert torch.equal(streamed.take(chosen(seed=1)), as_stored(images, chosen(seed=1)))


def test_a_batch_is_not_overwritten_by_the_next(images):
    streamed = batches(images, resident=False)
    first = streamed.take(chosen(seed=0))
    streamed.prefetch(chosen(seed=1))
    streamed.take(chosen(seed=1))
    assert torch.equal(first, as_stored(images, chosen(seed=0)))


@pytest.mark.parametrize("resident", [True, False])
def test_changing_a_batch_changes_no_image(images, resident):
    found = batches(images, resident=resident)
    found.take(chosen()).zero_()
    assert torch.equal(found.take(chosen()), as_stored(images, chosen()))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("index", [-1, COUNT])
def test_an_image_that_is_not_there_is_an_error(images, resident, index):
    with pytest.raises(IndexError):
        batches(images, resident=resident).take(torch.tensor([0, index]))


def test_a_quarter_of_the_memory_is_what_fits():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert fits_in_memory(memory // 4, CPU)
    assert not fits_in_memory(memory // 4 + 1, CPU)


def test_forty_percent_of_what_a_gpu_has_free_is_what_fits_shared_among_its_workers(monkeypatch):
    facts = {
        "mem_get_info": (900, 2000),
        "memory_reserved": 150,
        "memory_allocated": 50,
        "device_count": 2,
    }
    for name, value in facts.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_device, value=value: value)
    gpu = torch.device("cuda", 0)
    # what torch keeps for later is free as well
    assert (fits_in_memory(400, gpu), fits_in_memory(401, gpu)) == (
        True,
        False,
    )
    monkeypatch.setenv("PHINAS_NUM_WORKERS", "7")  # four on one GPU, three on the other
    assert (workers_sharing_gpu("auto"), workers_sharing_gpu("cuda:1")) == (4, 7)
    monkeypatch.setattr(module, "_trainings_per_gpu", 1)  # to be put back
    set_gpu_sharing(workers_sharing_gpu("auto"))
    assert (fits_in_memory(100, gpu), fits_in_memory(101, gpu)) == (True, False)


def test_a_set_is_resident_where_it_fits_at_the_side_asked_for(images, monkeypatch):
    at_ten = COUNT * 100 * images.shape[3]
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4, "SC_PHYS_PAGES": at_ten}.__getitem__)
    assert batches(images, resolution=10).resident
    assert not batches(images, resolution=11).resident
    assert not batches(images, resolution=10).at_resolution(11).resident


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resolution", [7, SIDE])
def test_a_gpu_has_the_same_batches_streamed_ahead_as_resident(images, resolution):
    cuda = torch.device("cuda")
    resident, streamed = (
        ImageBatches(images, LABELS, resolution=resolution, device=cuda, resident=resident)
        for resident in (True, False)
    )
    for seed in range(20):
        streamed.prefetch(chosen(seed=seed))
        assert torch.equal(
            streamed.take(chosen(seed=seed)), resident.take(chosen(seed=seed).to(cuda))
        )
