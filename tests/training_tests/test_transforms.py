"""Tests of augmentation: ranges, and dependence on seed, epoch and sample only."""

import math
from dataclasses import replace

import pytest
import torch

from phinas.training.augmentation.transforms import Augmentation, augment, normalize, resize

SIZE = 9
ALL_OPERATIONS = Augmentation(
    max_shift=0.125,
    horizontal_flip=True,
    min_crop_area=0.3,
    cutout_size=0.3,
    randaugment_magnitude=0.7,
)
SINGLE_OPERATIONS = [
    Augmentation(max_shift=0.125),
    Augmentation(horizontal_flip=True),
    Augmentation(min_crop_area=0.3),
    Augmentation(cutout_size=0.3),
    Augmentation(randaugment_magnitude=0.7),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise_images(count, *, size=16, channels=3):
    pixels = torch.randint(
        0, 256, (count, size, size, channels), dtype=torch.uint8, generator=generator()
    )
    return pixels.permute(0, 3, 1, 2)


def smooth_images(count, *, size=64):
    """Make images without fine details, which are almost the same at every resolution."""
    # with an offset of 1 the image differs from its mirror image
    angle = (torch.arange(size) + 0.5) / size * 2 * math.pi + 1
    red, green = angle.sin()[:, None].expand(size, size), angle.cos()[None].expand(size, size)
    pixels = torch.stack([red, green, red * green]).mul(100).add(128).to(torch.uint8)
    return pixels.expand(count, 3, size, size)


def apply(images, augmentation, *, samples=None, seed=0, epoch=1, strength=1.0):
    samples = torch.arange(len(images)) if samples is None else samples
    return augment(
        images, samples, augmentation=augmentation, seed=seed, epoch=epoch, strength=strength
    )


def coordinate_images(count):
    """Make images whose three channels are the index of the image, the row and the column."""
    image = torch.arange(count).view(-1, 1, 1).expand(count, SIZE, SIZE)
    row = torch.arange(SIZE).view(1, -1, 1).expand(count, SIZE, SIZE)
    column = torch.arange(SIZE).view(1, 1, -1).expand(count, SIZE, SIZE)
    return torch.stack([image, row, column], dim=1).to(torch.uint8)


def read_moves(images):
    """Return of each coordinate image whether it is flipped, and its shift in rows and columns."""
    result = []
    middle = SIZE // 2
    for image in images.long():
        rows, columns = image[1, :, 0], image[2, 0]
        flipped = bool(columns[0] > columns[-1])
        result.append((flipped, int(rows[middle]) - middle, int(columns[middle]) - middle))
        step = torch.arange(SIZE)
        assert torch.equal(rows, (step + result[-1][1]).clamp(0, SIZE - 1))
        column_step = SIZE - 1 - step if flipped else step
        assert torch.equal(columns, (column_step + result[-1][2]).clamp(0, SIZE - 1))
    return result


def test_shifts_and_flips_cover_their_range_and_do_not_mix_images():
    augmented = apply(
        coordinate_images(200), Augmentation(max_shift=2 / SIZE, horizontal_flip=True)
    )
    assert torch.equal(augmented[:, 0], coordinate_images(200)[:, 0])
    image_moves = read_moves(augmented)
    for axis in (1, 2):
        assert {move[axis] for move in image_moves} == {-2, -1, 0, 1, 2}
    assert 70 < sum(flipped for flipped, _, _ in image_moves) < 130
    # of 50 possible ones, so flips, rows and columns are independent
    assert len(set(image_moves)) > 45


def test_shifts_are_uniformly_distributed():
    image_moves = read_moves(apply(coordinate_images(250), Augmentation(max_shift=1 / SIZE)))
    assert {flipped for flipped, _, _ in image_moves} == {False}
    for axis in (1, 2):
        counts = [sum(move[axis] == value for move in image_moves) for value in (-1, 0, 1)]
        assert min(counts) > 60


def test_images_are_not_changed_without_an_operation():
    images = noise_images(5)
    assert torch.equal(apply(images, Augmentation()), images)


def test_flip_does_not_shift():
    image_moves = read_moves(apply(coordinate_images(60), Augmentation(horizontal_flip=True)))
    assert set(image_moves) == {(False, 0, 0), (True, 0, 0)}


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_flips_and_relative_shifts_do_not_depend_on_the_resolution(pixels):
    for epoch in range(3):
        reference = read_moves(
            apply(
                coordinate_images(80),
                Augmentation(max_shift=4 / SIZE, horizontal_flip=True),
                epoch=epoch,
            )
        )
        image_moves = read_moves(
            apply(
                coordinate_images(80),
                Augmentation(max_shift=pixels / SIZE, horizontal_flip=True),
                epoch=epoch,
            )
        )
        for expected, move in zip(reference, image_moves, strict=True):
            assert move[0] == expected[0]
            # a shift has 9 possible values in the reference, and `num_values` in the other images
            num_values = 2 * pixels + 1
            for axis in (1, 2):
                difference = abs(expected[axis] / 9 - move[axis] / num_values)
                assert difference <= 0.5 * (1 / 9 + 1 / num_values) + 1e-9


@pytest.mark.parametrize("augmentation", [*SINGLE_OPERATIONS, ALL_OPERATIONS])
def test_augmented_image_is_similar_at_every_resolution(augmentation):
    small = apply(smooth_images(100, size=32), augmentation).float()
    same_seed, other_seed = (
        (
            torch.nn.functional.avg_pool2d(
                apply(smooth_images(100), augmentation, seed=seed).float(), 2
            )
            - small
        )
        .abs()
        .mean()
        for seed in (0, 1)
    )
    # not 0, since shifts are in integer pixels and the edges of a crop or cutout are not
    assert same_seed < 0.15 * other_seed


@pytest.mark.parametrize("augmentation", [*SINGLE_OPERATIONS, ALL_OPERATIONS])
def test_augmentation_depends_on_seed_and_epoch(augmentation):
    images = noise_images(50)
    first = apply(images, augmentation)
    assert torch.equal(first, apply(images, augmentation))
    assert torch.equal(first, apply(images, augmentation, epoch=torch.tensor(1)))
    assert not torch.equal(first, apply(images, augmentation, seed=1))
    assert not torch.equal(first, apply(images, augmentation, epoch=2))


@pytest.mark.parametrize("augmentation", [*SINGLE_OPERATIONS, ALL_OPERATIONS])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_of_an_image_does_not_depend_on_its_batch(augmentation, channels):
    images, order = noise_images(40, channels=channels), torch.randperm(40, generator=generator())
    batch = apply(images, augmentation)
    assert torch.equal(apply(images[order], augmentation, samples=order), batch[order])
    assert torch.equal(apply(images[7:8], augmentation, samples=torch.tensor([7])), batch[7:8])


def test_additional_operation_does_not_change_the_others():
    images = coordinate_images(60)
    without_cutout, with_cutout = (
        apply(images, Augmentation(max_shift=0.25, horizontal_flip=True, cutout_size=cutout))
        for cutout in (0.0, 1e-9)
    )
    assert torch.equal(without_cutout, with_cutout)


@pytest.mark.parametrize("augmentation", [Augmentation(), *SINGLE_OPERATIONS, ALL_OPERATIONS])
@pytest.mark.parametrize("contiguous", [True, False])
def test_result_is_uint8_in_channels_last_format(augmentation, contiguous):
    images = noise_images(6).contiguous() if contiguous else noise_images(6)
    before = images.clone()
    out = apply(images, augmentation)
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


@pytest.mark.parametrize("strength", [0.0, torch.tensor(0.0)])
def test_only_shift_and_flip_are_applied_at_strength_zero(strength):
    images = noise_images(40)
    shift_and_flip = replace(
        ALL_OPERATIONS, min_crop_area=0.0, cutout_size=0.0, randaugment_magnitude=0.0
    )
    assert torch.equal(
        apply(images, ALL_OPERATIONS, strength=strength), apply(images, shift_and_flip)
    )


@pytest.mark.parametrize("augmentation", SINGLE_OPERATIONS[2:])
def test_higher_strength_changes_images_more(augmentation):
    images = smooth_images(200)
    weak, strong = (
        (apply(images, augmentation, strength=strength).float() - images).abs().mean()
        for strength in (0.3, torch.tensor(1.0))
    )
    assert 0 < weak < 0.7 * strong


def test_no_tensor_value_is_read_on_the_host():
    """Tensors on torch's meta device have no values, so reading one fails."""
    images = noise_images(8).to("meta")
    samples, epoch, strength = (
        value.to("meta") for value in (torch.arange(8), torch.tensor(1), torch.tensor(0.5))
    )
    assert (
        apply(images, ALL_OPERATIONS, samples=samples, epoch=epoch, strength=strength).shape
        == images.shape
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graph_replays_augmentation_with_another_epoch_and_strength():
    images, samples = noise_images(16).cuda(), torch.arange(16, device="cuda")
    epoch, strength = torch.tensor(0, device="cuda"), torch.tensor(0.0, device="cuda")
    warmup_stream = torch.cuda.Stream()
    warmup_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warmup_stream):
        apply(images, ALL_OPERATIONS, samples=samples, epoch=epoch, strength=strength)
    torch.cuda.current_stream().wait_stream(warmup_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = apply(images, ALL_OPERATIONS, samples=samples, epoch=epoch, strength=strength)
    for new_epoch, new_strength in ((1, 0.5), (2, 1.0)):
        epoch.fill_(new_epoch)
        strength.fill_(new_strength)
        graph.replay()
        assert torch.equal(
            replayed,
            apply(images, ALL_OPERATIONS, samples=samples, epoch=new_epoch, strength=new_strength),
        )


def test_cutout_is_a_square_in_the_mean_color_that_may_cross_the_edge():
    size = 20
    images = torch.zeros(300, 3, size, size, dtype=torch.uint8)
    images[:, 0, :, ::2] = 100
    images[:, 1] = 7
    cut = apply(images, Augmentation(cutout_size=0.25))
    hidden = cut[:, 0] == 50
    assert torch.equal(cut[:, 0][~hidden], images[:, 0][~hidden])
    assert torch.equal(cut[:, 1:], images[:, 1:])
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), heights * widths)
    assert set(heights.tolist()) == set(widths.tolist()) == {3, 4, 5}
    assert hidden.any(0).all()


def test_resizing_to_the_same_size_returns_the_images():
    images = coordinate_images(3)
    assert resize(images, SIZE) is images


@pytest.mark.parametrize("size", [1, 4, 9, 30])
def test_resizing_does_not_change_the_type_and_constant_images(size):
    images = (
        torch.tensor([0, 1, 254, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, SIZE, SIZE)
    )
    resized = resize(images, size)
    assert resized.dtype == torch.uint8
    assert torch.equal(resized, images[:, :, :1, :1].expand(4, 3, size, size))


def test_resizing_in_chunks_gives_equal_results_for_equal_images():
    images = noise_images(1, size=400).expand(300, 3, 400, 400)  # more than one chunk
    resized = resize(images, 5)
    assert torch.equal(resized, resized[:1].expand(300, 3, 5, 5))


def test_downscaling_averages_pixels():
    board = (
        (torch.arange(64).view(8, 8) + torch.arange(8).view(8, 1))
        .remainder(2)
        .mul(255)
        .to(torch.uint8)[None, None]
    )
    assert 100 < resize(board, 4).float().mean() < 155


def test_normalized_channels_have_zero_mean_and_unit_standard_deviation():
    images = torch.randint(0, 256, (50, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator())
    floats = images.float() / 255
    mean, std = floats.mean((0, 2, 3)).view(1, -1, 1, 1), floats.std((0, 2, 3)).view(1, -1, 1, 1)
    before = images.clone()
    out = normalize(images, mean, std)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(out.std((0, 2, 3)), torch.ones(3), atol=1e-5)
    assert torch.equal(images, before)
