"""Arrays from .npz files, and the digits of scikit-learn."""

import zipfile
from pathlib import Path

import numpy as np
import pytest


def write_npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def test_digits_are_one_channel_of_8_pixels_that_use_all_256_levels(load):
    data = load("digits")
    assert data.train.pixels.shape == (1797, 8, 8, 1)
    assert data.train.pixels.dtype == np.uint8
    assert (data.train.pixels.min(), data.train.pixels.max()) == (0, 255)
    assert data.classes == tuple("0123456789")


def test_digits_may_not_be_mirrored(load):
    assert not load("digits").allow_flip


def test_digits_bring_no_test_split(load):
    assert load("digits").test is None


def test_digits_are_stored_at_the_side_asked_for(load):
    assert load("digits", image_size=12).train.pixels.shape == (1797, 12, 12, 1)


COLOUR = np.zeros((4, 6, 6, 3), np.uint8)


LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "labels"), ("x", "y"), ("x_train", "y_train")]
)
def test_npz_is_read_under_its_usual_keys(tmp_path, images, labels, load):
    data = load(write_npz(tmp_path / "pets.npz", **{images: COLOUR, labels: LABELS}))
    assert data.name == "pets"
    assert data.train.pixels.shape == (4, 6, 6, 3)
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("images", "labels"), [("x_test", "y_test"), ("test_images", "test_labels")]
)
def test_npz_may_bring_a_test_split(tmp_path, images, labels, load):
    data = load(
        write_npz(
            tmp_path / "x.npz", x=COLOUR, y=LABELS, **{images: COLOUR[:2], labels: LABELS[:2]}
        )
    )
    assert len(data.test) == 2


def test_npz_without_channels_is_gray(tmp_path, load):
    assert load(write_npz(tmp_path / "x.npz", x=COLOUR[..., 0], y=LABELS)).train.pixels.shape == (
        4,
        6,
        6,
        1,
    )


def test_npz_may_name_its_classes(tmp_path, load):
    assert load(
        write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS, classes=np.array(["cat", "dog"]))
    ).classes == ("cat", "dog")


def test_npz_labels_may_stand_in_a_column(tmp_path, load):
    assert load(write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS[:, None])).train.labels.shape == (
        4,
    )


def test_npz_is_stored_at_the_side_asked_for(tmp_path, load):
    path = write_npz(tmp_path / "x.npz", x=COLOUR + np.uint8(9), y=LABELS)
    data = load(path, image_size=3)
    assert data.train.pixels.shape == (4, 3, 3, 3)
    assert (data.train.pixels == 9).all()


def test_npz_images_that_are_not_square_are_cropped(tmp_path, load):
    assert load(write_npz(tmp_path / "x.npz", x=COLOUR[:, :4], y=LABELS)).train.pixels.shape == (
        4,
        4,
        4,
        3,
    )


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        pytest.param(
            COLOUR.transpose(0, 3, 1, 2),
            "channels first; store x.transpose(0, 2, 3, 1)",
            id="channels first",
        ),
        pytest.param(COLOUR / 255.0, "store (x * 255).round().astype(np.uint8)", id="floats to 1"),
        pytest.param(COLOUR + 200.0, "store x.round().astype(np.uint8)", id="floats to 255"),
        pytest.param(COLOUR - 1.5, "store the original pixels", id="normalized"),
        pytest.param(COLOUR + np.nan, "NaN or infinite", id="NaN"),
        pytest.param(COLOUR.astype(np.int64), "store x.round().astype(np.uint8)", id="int64"),
        pytest.param(
            COLOUR.astype(np.uint16) + 9999, "store (x // 257).astype(np.uint8)", id="16 bits"
        ),
        pytest.param(COLOUR.astype(bool), "store (x * 255)", id="boolean"),
        pytest.param(COLOUR.astype(str), "not a kind of pixel", id="text"),
        pytest.param(
            np.zeros((4, 6, 6, 4), np.uint8), "fourth channel; store x[..., :3]", id="RGBA"
        ),
        pytest.param(np.zeros((4, 36), np.uint8), "reshape it", id="flat"),
        pytest.param(np.zeros((4, 0, 6), np.uint8), "reshape it", id="no height"),
    ],
)
def test_npz_with_other_pixels_is_refused_with_the_line_that_mends_it(
    tmp_path, images, remedy, load_error
):
    assert remedy in load_error(write_npz(tmp_path / "x.npz", x=images, y=LABELS))


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        pytest.param(LABELS.astype(float), "store y.astype(np.int64)", id="float"),
        pytest.param(np.array([0, 1, np.nan, 1]), "1 are NaN", id="NaN"),
        pytest.param(np.eye(2, dtype=np.int64)[LABELS], "store y.argmax(1)", id="one-hot"),
        pytest.param(np.array(["cat", "dog"] * 2), "np.unique(y, return_inverse=True)", id="text"),
        pytest.param(LABELS - 1, "-1 is negative", id="negative"),
        pytest.param(LABELS * 10**12, "number the classes 0, 1, 2 on", id="huge"),
        pytest.param(LABELS + 1, "no image of class '0'", id="from 1"),
        pytest.param(LABELS[:3], "4 images (x) but 3 labels (y)", id="too few"),
        pytest.param(LABELS.astype(bool), "bool is not a kind of label", id="boolean"),
        pytest.param(LABELS * 0, "holds one class (0)", id="one class"),
    ],
)
def test_npz_with_bad_labels_is_refused_with_the_line_that_mends_it(
    tmp_path, labels, remedy, load_error
):
    assert remedy in load_error(write_npz(tmp_path / "x.npz", x=COLOUR, y=labels))


def test_npz_with_other_keys_is_refused_with_those_it_has(tmp_path, load_error):
    message = load_error(write_npz(tmp_path / "x.npz", pictures=COLOUR, y=LABELS))
    assert (
        "no images: wanted one of images, x, x_train, train_images, found pictures, y" in message
        or "found y, pictures" in message
    )


def test_npz_without_labels_is_refused(tmp_path, load_error):
    assert "no labels: wanted one of labels, y" in load_error(
        write_npz(tmp_path / "x.npz", x=COLOUR)
    )


def test_npz_with_half_a_test_split_is_refused(tmp_path, load_error):
    assert "no test labels" in load_error(
        write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS, x_test=COLOUR)
    )


def test_npz_whose_splits_differ_in_channels_is_refused(tmp_path, load_error):
    path = write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS, x_test=COLOUR[..., 0], y_test=LABELS)
    assert "1 channels in the test images and 3" in load_error(path)


def test_npz_with_labels_beyond_its_class_names_is_refused(tmp_path, load_error):
    path = write_npz(tmp_path / "x.npz", x=COLOUR, y=LABELS, classes=np.array(["cat"]))
    assert "labels run to 1, but classes has 1 names" in load_error(path)


def test_npz_with_objects_is_not_unpickled(tmp_path, load_error):
    path = write_npz(tmp_path / "x.npz", x=np.array([object()] * 4, dtype=object), y=LABELS)
    assert "x: holds Python objects, which are not loaded" in load_error(path)


def test_an_empty_npz_array_is_refused(tmp_path, load_error):
    assert "holds no images" in load_error(
        write_npz(tmp_path / "x.npz", x=COLOUR[:0], y=LABELS[:0])
    )


@pytest.mark.parametrize(
    "content", [b"", b"<html></html>", b"PK\x03\x04 torn", "an array", "a torn member"]
)
def test_a_broken_npz_is_refused(tmp_path, content, load_error):
    path = tmp_path / "x.npz"
    if content == "an array":
        with path.open("wb") as file:
            np.save(file, COLOUR)
    elif content == "a torn member":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", b"\x93NUMPY\x01\x00")
            archive.writestr("y.npy", b"\x93NUMPY")
    else:
        path.write_bytes(content)
    assert ".npz" in load_error(path)
