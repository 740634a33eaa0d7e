"""Augmentation acts on each image by itself, within its range, and follows from seed, epoch and
sample alone.
"""

import math
from dataclasses import replace

import pytest
import torch

from phinas.training.augmentation.transforms import Augmentation, augment, normalize, resize

SIDE = 9
EVERYTHING = Augmentation(
    max_shift=0.125,
    horizontal_flip=True,
    min_crop_area=0.3,
    cutout_size=0.3,
    randaugment_magnitude=0.7,
)
ONE_EACH = [
    Augmentation(max_shift=0.125),
    Augmentation(horizontal_flip=True),
    Augmentation(min_crop_area=0.3),
    Augmentation(cutout_size=0.3),
    Augmentation(randaugment_magnitude=0.7),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(count, *, side=16, channels=3):
    pixels = torch.randint(
        0, 256, (count, side, side, channels), dtype=torch.uint8, generator=generator()
    )
    return pixels.permute(0, 3, 1, 2)


def smooth(count, *, side=64):
    """A picture of few details, the same at every resolution but for them."""
    at = (torch.arange(side) + 0.5) / side * 2 * math.pi + 1  # so that no mirror image is the same
    red, green = at.sin()[:, None].expand(side, side), at.cos()[None].expand(side, side)
    pixels = torch.stack([red, green, red * green]).mul(100).add(128).to(torch.uint8)
    return pixels.expand(count, 3, side, side)


def seen(images, augmentation, *, samples=None, seed=0, epoch=1, strength=1.0):
    samples = torch.arange(len(images)) if samples is None else samples
    return augment(
        images, samples, augmentation=augmentation, seed=seed, epoch=epoch, strength=strength
    )


def coordinates(count):
    """Images of three channels: which image, which row, which column."""
    image = torch.arange(count).view(-1, 1, 1).expand(count, SIDE, SIDE)
    row = torch.arange(SIDE).view(1, -1, 1).expand(count, SIDE, SIDE)
    column = torch.arange(SIDE).view(1, 1, -1).expand(count, SIDE, SIDE)
    return torch.stack([image, row, column], dim=1).to(torch.uint8)


def moves(seen):
    """For each image that was moved: mirrored or not, rows and columns, read off its pixels."""
    found = []
    middle = SIDE // 2
    for image in seen.long():
        rows, columns = image[1, :, 0], image[2, 0]
        mirrored = bool(columns[0] > columns[-1])
        found.append((mirrored, int(rows[middle]) - middle, int(columns[middle]) - middle))
        step = torch.arange(SIDE)
        assert torch.equal(rows, (step + found[-1][1]).clamp(0, SIDE - 1))
        turned = SIDE - 1 - step if mirrored else step
        assert torch.equal(columns, (turned + found[-1][2]).clamp(0, SIDE - 1))
    return found


def test_every_image_is_moved_as_a_whole_within_range_and_mixed_with_no_other():
    moved = seen(coordinates(200), Augmentation(max_shift=2 / SIDE, horizontal_flip=True))
    assert torch.equal(moved[:, 0], coordinates(200)[:, 0])
    drawn = moves(moved)
    assert {row for _, row, _ in drawn} == {column for _, _, column in drawn} == {-2, -1, 0, 1, 2}
    assert 70 < sum(mirrored for mirrored, _, _ in drawn) < 130
    assert len(set(drawn)) > 45  # of 50: mirroring, rows and columns are drawn apart


def test_every_move_is_about_as_frequent():
    drawn = moves(seen(coordinates(250), Augmentation(max_shift=1 / SIDE)))
    assert {mirrored for mirrored, _, _ in drawn} == {False}
    for axis in (1, 2):
        counts = [sum(move[axis] == value for move in drawn) for value in (-1, 0, 1)]
        assert min(counts) > 60


def test_without_any_augmentation_the_images_are_the_same():
    images = noise(5)
    assert torch.equal(seen(images, Augmentation()), images)


def test_only_a_flip_moves_nothing_else():
    drawn = moves(seen(coordinates(60), Augmentation(horizontal_flip=True)))
    assert set(drawn) == {(False, 0, 0), (True, 0, 0)}


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_networks_of_any_resolution_see_the_same_flips_and_the_same_direction_of_shift(pixels):
    for epoch in range(3):
        reference = moves(
            seen(
                coordinates(80), Augmentation(max_shift=4 / SIDE, horizontal_flip=True), epoch=epoch
            )
        )
        drawn = moves(
            seen(
                coordinates(80),
                Augmentation(max_shift=pixels / SIDE, horizontal_flip=True),
                epoch=epoch,
            )
        )
        for (mirrored, *max_shift), (mirrored_too, *shift_too) in zip(
            reference, drawn, strict=True
        ):
            assert mirrored == mirrored_too
            for large, small in zip(max_shift, shift_too, strict=True):
                assert (
                    abs(large / 9 - small / (2 * pixels + 1))
                    <= 0.5 * (1 / 9 + 1 / (2 * pixels + 1)) + 1e-9
                )


@pytest.mark.parametrize("augmentation", [*ONE_EACH, EVERYTHING])
def test_an_image_looks_alike_at_every_resolution(augmentation):
    small = seen(smooth(100, side=32), augmentation).float()
    alike, other = (
        (
            torch.nn.functional.avg_pool2d(seen(smooth(100), augmentation, seed=seed).float(), 2)
            - small
        )
        .abs()
        .mean()
        for seed in (0, 1)
    )
    assert alike < 0.15 * other  # not 0: shifts are whole pixels, and edges fall between pixels


@pytest.mark.parametrize("augmentation", [*ONE_EACH, EVERYTHING])
def test_the_same_seed_and_epoch_give_the_same_and_others_another(augmentation):
    images = noise(50)
    first = seen(images, augmentation)
    assert torch.equal(first, seen(images, augmentation))
    assert torch.equal(first, seen(images, augmentation, epoch=torch.tensor(1)))
    assert not torch.equal(first, seen(images, augmentation, seed=1))
    assert not torch.equal(first, seen(images, augmentation, epoch=2))


@pytest.mark.parametrize("augmentation", [*ONE_EACH, EVERYTHING])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_seen_alike_in_any_batch(augmentation, channels):
    images, order = noise(40, channels=channels), torch.randperm(40, generator=generator())
    whole = seen(images, augmentation)
    assert torch.equal(seen(images[order], augmentation, samples=order), whole[order])
    assert torch.equal(seen(images[7:8], augmentation, samples=torch.tensor([7])), whole[7:8])


def test_another_option_leaves_the_draws_of_the_first_as_they_were():
    images = coordinates(60)
    alone, beside = (
        seen(images, Augmentation(max_shift=0.25, horizontal_flip=True, cutout_size=cutout))
        for cutout in (0.0, 1e-9)
    )
    assert torch.equal(alone, beside)


@pytest.mark.parametrize("augmentation", [Augmentation(), *ONE_EACH, EVERYTHING])
@pytest.mark.parametrize("contiguous", [True, False])
def test_images_come_out_as_bytes_with_the_channels_last_in_memory(augmentation, contiguous):
    images = noise(6).contiguous() if contiguous else noise(6)
    before = images.clone()
    out = seen(images, augmentation)
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


@pytest.mark.parametrize("strength", [0.0, torch.tensor(0.0)])
def test_at_strength_zero_only_shift_and_flip_are_left(strength):
    images = noise(40)
    plain = replace(EVERYTHING, min_crop_area=0.0, cutout_size=0.0, randaugment_magnitude=0.0)
    assert torch.equal(seen(images, EVERYTHING, strength=strength), seen(images, plain))


@pytest.mark.parametrize("augmentation", ONE_EACH[2:])
def test_more_strength_changes_images_more(augmentation):
    images = smooth(200)
    weak, strong = (
        (seen(images, augmentation, strength=strength).float() - images).abs().mean()
        for strength in (0.3, torch.tensor(1.0))
    )
    assert 0 < weak < 0.7 * strong


def test_nothing_that_is_drawn_is_read_on_the_host():
    """On torch's meta device there are shapes and no values: whatever depends on a value fails."""
    images = noise(8).to("meta")
    samples, epoch, strength = (
        value.to("meta") for value in (torch.arange(8), torch.tensor(1), torch.tensor(0.5))
    )
    assert (
        seen(images, EVERYTHING, samples=samples, epoch=epoch, strength=strength).shape
        == images.shape
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_replays_augmentation_for_another_epoch_and_strength():
    images, samples = noise(16).cuda(), torch.arange(16, device="cuda")
    epoch, strength = torch.tensor(0, device="cuda"), torch.tensor(0.0, device="cuda")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        seen(images, EVERYTHING, samples=samples, epoch=epoch, strength=strength)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = seen(images, EVERYTHING, samples=samples, epoch=epoch, strength=strength)
    for number, share in ((1, 0.5), (2, 1.0)):
        epoch.fill_(number)
        strength.fill_(share)
        graph.replay()
        assert torch.equal(
            replayed, seen(images, EVERYTHING, samples=samples, epoch=number, strength=share)
        )


def test_a_cutout_is_a_square_of_its_size_in_the_mean_color_and_may_lie_across_the_edge():
    side = 20
    images = torch.zeros(300, 3, side, side, dtype=torch.uint8)
    images[:, 0, :, ::2] = 100
    images[:, 1] = 7
    cut = seen(images, Augmentation(cutout_size=0.25))
    hidden = cut[:, 0] == 50
    assert torch.equal(cut[:, 0][~hidden], images[:, 0][~hidden])
    assert torch.equal(cut[:, 1:], images[:, 1:])
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), heights * widths)
    assert set(heights.tolist()) == set(widths.tolist()) == {3, 4, 5}
    assert hidden.any(0).all()


def test_resizing_to_the_same_side_changes_nothing():
    images = coordinates(3)
    assert resize(images, SIDE) is images


@pytest.mark.parametrize("side", [1, 4, 9, 30])
def test_resizing_keeps_range_type_and_constant_images(side):
    images = (
        torch.tensor([0, 1, 254, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, SIDE, SIDE)
    )
    resized = resize(images, side)
    assert resized.dtype == torch.uint8
    assert torch.equal(resized, images[:, :, :1, :1].expand(4, 3, side, side))


def test_resizing_treats_every_image_alike_across_chunks():
    images = noise(1, side=400).expand(300, 3, 400, 400)  # more than are resized at a time
    resized = resize(images, 5)
    assert torch.equal(resized, resized[:1].expand(300, 3, 5, 5))


def test_halving_a_side_averages_pixels_rather_than_dropping_them():
    board = (
        (torch.arange(64).view(8, 8) + torch.arange(8).view(8, 1))
        .remainder(2)
        .mul(255)
        .to(torch.uint8)[None, None]
    )
    assert 100 < resize(board, 4).float().mean() < 155


def test_normalized_channels_have_zero_mean_and_unit_deviation():
    images = torch.randint(0, 256, (50, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator())
    floats = images.float() / 255
    mean, std = floats.mean((0, 2, 3)).view(1, -1, 1, 1), floats.std((0, 2, 3)).view(1, -1, 1, 1)
    before = images.clone()
    out = normalize(images, mean, std)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(out.std((0, 2, 3)), torch.ones(3), atol=1e-5)
    assert torch.equal(images, before)
