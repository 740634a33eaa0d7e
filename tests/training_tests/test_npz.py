"""Tests of sources whose images are arrays: .npz files and the digits of scikit-learn."""

import zipfile
from pathlib import Path

import numpy as np
import pytest


def write_npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def test_digits_have_one_channel_and_8_px_and_use_all_256_levels(load):
    data = load("digits")
    assert data.train.pixels.shape == (1797, 8, 8, 1)
    assert data.train.pixels.dtype == np.uint8
    assert (data.train.pixels.min(), data.train.pixels.max()) == (0, 255)
    assert data.classes == tuple("0123456789")


def test_digits_do_not_allow_horizontal_flips(load):
    assert not load("digits").allow_flip


def test_digits_have_no_test_split(load):
    assert load("digits").test is None


def test_digits_are_stored_at_the_configured_image_size(load):
    assert load("digits", image_size=12).train.pixels.shape == (1797, 12, 12, 1)


COLOR_IMAGES = np.zeros((4, 6, 6, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "labels"), ("x", "y"), ("x_train", "y_train")]
)
def test_npz_is_read_under_the_common_keys(tmp_path, images, labels, load):
    data = load(write_npz(tmp_path / "pets.npz", **{images: COLOR_IMAGES, labels: LABELS}))
    assert data.name == "pets"
    assert data.train.pixels.shape == (4, 6, 6, 3)
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("images", "labels"), [("x_test", "y_test"), ("test_images", "test_labels")]
)
def test_test_split_of_an_npz_is_read(tmp_path, images, labels, load):
    data = load(
        write_npz(
            tmp_path / "x.npz",
            x=COLOR_IMAGES,
            y=LABELS,
            **{images: COLOR_IMAGES[:2], labels: LABELS[:2]},
        )
    )
    assert len(data.test) == 2


def test_npz_without_channel_axis_is_gray(tmp_path, load):
    assert load(
        write_npz(tmp_path / "x.npz", x=COLOR_IMAGES[..., 0], y=LABELS)
    ).train.pixels.shape == (
        4,
        6,
        6,
        1,
    )


def test_class_names_of_an_npz_are_read(tmp_path, load):
    assert load(
        write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=LABELS, classes=np.array(["cat", "dog"]))
    ).classes == ("cat", "dog")


def test_npz_labels_in_a_column_are_flattened(tmp_path, load):
    assert load(
        write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=LABELS[:, None])
    ).train.labels.shape == (4,)


def test_npz_is_stored_at_the_configured_image_size(tmp_path, load):
    path = write_npz(tmp_path / "x.npz", x=COLOR_IMAGES + np.uint8(9), y=LABELS)
    data = load(path, image_size=3)
    assert data.train.pixels.shape == (4, 3, 3, 3)
    assert (data.train.pixels == 9).all()


def test_npz_images_that_are_not_square_are_cropped(tmp_path, load):
    assert load(
        write_npz(tmp_path / "x.npz", x=COLOR_IMAGES[:, :4], y=LABELS)
    ).train.pixels.shape == (
        4,
        4,
        4,
        3,
    )


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        pytest.param(
            COLOR_IMAGES.transpose(0, 3, 1, 2),
            "has the channels first; store x.transpose(0, 2, 3, 1)",
            id="channels first",
        ),
        pytest.param(
            COLOR_IMAGES / 255.0, "store (x * 255).round().astype(np.uint8)", id="floats to 1"
        ),
        pytest.param(COLOR_IMAGES + 200.0, "store x.round().astype(np.uint8)", id="floats to 255"),
        pytest.param(COLOR_IMAGES - 1.5, "store the original pixels", id="normalized"),
        pytest.param(COLOR_IMAGES + np.nan, "NaN or infinite", id="NaN"),
        pytest.param(COLOR_IMAGES.astype(np.int64), "store x.round().astype(np.uint8)", id="int64"),
        pytest.param(
            COLOR_IMAGES.astype(np.uint16) + 9999, "store (x // 257).astype(np.uint8)", id="16 bits"
        ),
        pytest.param(COLOR_IMAGES.astype(bool), "store (x * 255)", id="boolean"),
        pytest.param(COLOR_IMAGES.astype(str), "pixels cannot be <U", id="text"),
        pytest.param(
            np.zeros((4, 6, 6, 4), np.uint8), "has four channels; store x[..., :3]", id="RGBA"
        ),
        pytest.param(np.zeros((4, 36), np.uint8), "reshape it", id="flat"),
        pytest.param(np.zeros((4, 0, 6), np.uint8), "reshape it", id="no height"),
    ],
)
def test_npz_with_unsuitable_pixels_is_refused_with_the_line_that_converts_them(
    tmp_path, images, advice, load_error
):
    assert advice in load_error(write_npz(tmp_path / "x.npz", x=images, y=LABELS))


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        pytest.param(LABELS.astype(float), "store y.astype(np.int64)", id="float"),
        pytest.param(np.array([0, 1, np.nan, 1]), "1 are NaN", id="NaN"),
        pytest.param(np.eye(2, dtype=np.int64)[LABELS], "store y.argmax(1)", id="one-hot"),
        pytest.param(np.array(["cat", "dog"] * 2), "np.unique(y, return_inverse=True)", id="text"),
        pytest.param(LABELS - 1, "-1 is negative", id="negative"),
        pytest.param(LABELS * 10**12, "number the classes from 0", id="huge"),
        pytest.param(LABELS + 1, "the train split has no image of class '0'", id="from 1"),
        pytest.param(LABELS[:3], "4 images (x) but 3 labels (y)", id="too few"),
        pytest.param(LABELS.astype(bool), "labels cannot be bool", id="boolean"),
        pytest.param(LABELS * 0, "has only one class (0)", id="one class"),
    ],
)
def test_npz_with_unsuitable_labels_is_refused_with_the_line_that_converts_them(
    tmp_path, labels, advice, load_error
):
    assert advice in load_error(write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=labels))


def test_npz_with_unknown_keys_is_refused_with_its_keys(tmp_path, load_error):
    message = load_error(write_npz(tmp_path / "x.npz", pictures=COLOR_IMAGES, y=LABELS))
    assert (
        "has no images, only the keys pictures, y; store the images under one of the keys "
        in message
    )


def test_npz_without_labels_is_refused(tmp_path, load_error):
    assert (
        "has no labels, only the keys x; store the labels under one of the keys labels, y"
        in load_error(write_npz(tmp_path / "x.npz", x=COLOR_IMAGES))
    )


def test_npz_with_test_images_but_no_test_labels_is_refused(tmp_path, load_error):
    assert "has no test labels" in load_error(
        write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=LABELS, x_test=COLOR_IMAGES)
    )


def test_npz_with_different_channels_in_its_splits_is_refused(tmp_path, load_error):
    path = write_npz(
        tmp_path / "x.npz", x=COLOR_IMAGES, y=LABELS, x_test=COLOR_IMAGES[..., 0], y_test=LABELS
    )
    assert "the test images have 1 channels and the training images have 3" in load_error(path)


def test_npz_with_labels_beyond_its_class_names_is_refused(tmp_path, load_error):
    path = write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=LABELS, classes=np.array(["cat"]))
    assert "the largest label is 1, but classes has 1 names" in load_error(path)


def test_npz_with_python_objects_is_not_unpickled(tmp_path, load_error):
    path = write_npz(tmp_path / "x.npz", x=np.array([object()] * 4, dtype=object), y=LABELS)
    assert "x: contains Python objects, which are not loaded" in load_error(path)


def test_empty_npz_array_is_refused(tmp_path, load_error):
    assert "has no training images" in load_error(
        write_npz(tmp_path / "x.npz", x=COLOR_IMAGES[:0], y=LABELS[:0])
    )


@pytest.mark.parametrize(
    "content", [b"", b"<html></html>", b"PK\x03\x04 damaged", "single array", "damaged member"]
)
def test_damaged_npz_is_refused(tmp_path, content, load_error):
    path = tmp_path / "x.npz"
    if content == "single array":
        with path.open("wb") as file:
            np.save(file, COLOR_IMAGES)
    elif content == "damaged member":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", b"\x93NUMPY\x01\x00")
            archive.writestr("y.npy", b"\x93NUMPY")
    else:
        path.write_bytes(content)
    assert ".npz" in load_error(path)
