"""Augmentation acts on each image by itself, within its range, and follows from the generator alone."""

import pytest
import torch

from training.augment import normalise, resize, shift_and_flip

SIDE = 9


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


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
    seen = shift_and_flip(coordinates(200), pixels=2, flip=True, generator=generator())
    assert torch.equal(seen[:, 0], coordinates(200)[:, 0])
    drawn = moves(seen)
    assert {row for _, row, _ in drawn} == {column for _, _, column in drawn} == {-2, -1, 0, 1, 2}
    assert 70 < sum(mirrored for mirrored, _, _ in drawn) < 130
    assert len(set(drawn)) == 50  # mirroring, rows and columns are drawn apart


def test_every_move_is_about_as_frequent():
    drawn = moves(shift_and_flip(coordinates(250), pixels=1, flip=False, generator=generator()))
    assert {mirrored for mirrored, _, _ in drawn} == {False}
    for axis in (1, 2):
        counts = [sum(move[axis] == value for move in drawn) for value in (-1, 0, 1)]
        assert min(counts) > 60


def test_without_shift_and_flip_the_images_are_the_same():
    images = coordinates(5)
    assert shift_and_flip(images, pixels=0, flip=False, generator=generator()) is images


def test_only_a_flip_moves_nothing_else():
    drawn = moves(shift_and_flip(coordinates(60), pixels=0, flip=True, generator=generator()))
    assert set(drawn) == {(False, 0, 0), (True, 0, 0)}


def test_the_same_generator_gives_the_same_and_another_seed_another():
    images = coordinates(50)
    seen = [shift_and_flip(images, pixels=2, flip=True, generator=generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_networks_of_any_resolution_see_the_same_flips_and_the_same_direction_of_shift(pixels):
    one, other = generator(), generator()
    for _ in range(3):  # batch after batch
        reference = moves(shift_and_flip(coordinates(80), pixels=4, flip=True, generator=one))
        drawn = moves(shift_and_flip(coordinates(80), pixels=pixels, flip=True, generator=other))
        for (mirrored, *shift), (mirrored_too, *shift_too) in zip(reference, drawn, strict=True):
            assert mirrored == mirrored_too
            for large, small in zip(shift, shift_too, strict=True):
                assert abs(large / 9 - small / (2 * pixels + 1)) <= 0.5 * (1 / 9 + 1 / (2 * pixels + 1)) + 1e-9


def test_resizing_to_the_same_side_changes_nothing():
    images = coordinates(3)
    assert resize(images, SIDE) is images


@pytest.mark.parametrize("side", [1, 4, 9, 30])
def test_resizing_keeps_range_type_and_constant_images(side):
    images = torch.tensor([0, 1, 254, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, SIDE, SIDE)
    resized = resize(images, side)
    assert resized.dtype == torch.uint8
    assert torch.equal(resized, images[:, :, :1, :1].expand(4, 3, side, side))


def test_resizing_treats_every_image_alike_across_chunks():
    images = torch.randint(0, 256, (1, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator()).expand(2500, 1, SIDE, SIDE)
    resized = resize(images, 5)
    assert torch.equal(resized, resized[:1].expand(2500, 1, 5, 5))


def test_halving_a_side_averages_pixels_rather_than_dropping_them():
    board = (torch.arange(64).view(8, 8) + torch.arange(8).view(8, 1)).remainder(2).mul(255).to(torch.uint8)[None, None]
    assert 100 < resize(board, 4).float().mean() < 155


def test_normalised_channels_have_zero_mean_and_unit_deviation():
    images = torch.randint(0, 256, (50, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator())
    floats = images.float() / 255
    mean, std = floats.mean((0, 2, 3)).view(1, -1, 1, 1), floats.std((0, 2, 3)).view(1, -1, 1, 1)
    before = images.clone()
    out = normalise(images, mean, std)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(out.std((0, 2, 3)), torch.ones(3), atol=1e-5)
    assert torch.equal(images, before)
