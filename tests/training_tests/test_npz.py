"""Tests of sources whose images are arrays: .npz files and the digits of scikit-learn."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from phinas.training.data import pixel_array


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
        pytest.param(np.zeros((4, 36), np.uint8), "store x.reshape(-1, 6, 6)", id="flat"),
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
        pytest.param(LABELS + 0.5, "row 0 is 0.5, a number with a fraction", id="fraction"),
        pytest.param(np.array([0, 1, np.nan, 1]), "row 2 has no label (1 in total)", id="NaN"),
        pytest.param(np.eye(2)[LABELS] / 2, "store y.argmax(1)", id="probabilities"),
        pytest.param(LABELS - 1, "row 0 is -1, a negative label (2 in total)", id="negative"),
        pytest.param(LABELS * 0 - 1, "no image has a label", id="none"),
        pytest.param(LABELS[:3], "4 images (x) but 3 labels (y)", id="too few"),
        pytest.param(np.ones((4, 2), int), "row 0 has 2 labels (4 such rows)", id="several"),
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


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array(["cat", "dog"] * 2), ("cat", "dog")),
        (np.array([b"cat", b"dog"] * 2), ("cat", "dog")),
        (LABELS + 1, ("1", "2")),
        (LABELS * 10**12, ("0", "1000000000000")),
    ],
)
def test_classes_are_the_labels_that_occur(tmp_path, labels, classes, load):
    data = load(write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=labels))
    assert data.classes == classes
    assert data.train.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev", "eval"])
def test_validation_split_of_an_npz_is_read(tmp_path, word, load):
    splits = {
        f"{word}_images": COLOR_IMAGES[:3],
        f"{word}_labels": LABELS[:3],
        "test_images": COLOR_IMAGES[:2],
        "test_labels": LABELS[:2],
    }
    path = write_npz(tmp_path / "x.npz", train_images=COLOR_IMAGES, train_labels=LABELS, **splits)
    data = load(path)
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 3, 2)


def test_named_keys_of_an_npz_are_read_for_all_splits(tmp_path, load, load_error):
    path = write_npz(
        tmp_path / "x.npz",
        pixels_train=COLOR_IMAGES,
        coarse=LABELS * 0,
        fine=LABELS,
        pixels_test=COLOR_IMAGES[:2],
        fine_test=LABELS[:2],
    )
    data = load(path, image_column="pixels_train", label_column="fine")
    assert (len(data.train), len(data.test)) == (4, 2)
    assert "data.label_column: " in load_error(path, label_column="x")
    assert "use one of: pixels_train, coarse, fine, " in load_error(path, label_column="x")


def test_test_images_of_an_npz_without_labels_are_not_used(tmp_path, load):
    data = load(write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=LABELS, x_test=COLOR_IMAGES))
    assert data.test is None
    assert data.notes == ("x_test is not used, because its 4 images have no labels",)


def test_npz_larger_than_the_memory_is_mapped_from_a_temporary_file(tmp_path, load, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, COLOR_IMAGES.shape, dtype=np.uint8)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=pixels, y=LABELS)
    monkeypatch.setattr(pixel_array, "memory_bytes", lambda: 500)
    data = load(path)
    assert isinstance(data.train.pixels.base, np.memmap) or isinstance(data.train.pixels, np.memmap)
    assert np.array_equal(data.train.pixels, pixels)


def test_npz_whose_header_claims_more_bytes_than_it_has_is_refused(tmp_path, load_error):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000, 3)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + b"0" * 100)
    assert "its header says 3,000,000,000,000,000 bytes, and it has 100" in load_error(
        tmp_path / "x.npz"
    )


def test_npz_with_different_channels_in_its_splits_is_refused(tmp_path, load_error):
    path = write_npz(
        tmp_path / "x.npz", x=COLOR_IMAGES, y=LABELS, x_test=COLOR_IMAGES[..., 0], y_test=LABELS
    )
    assert "the test images have 1 channels and the training images have 3" in load_error(path)


def test_npz_with_labels_beyond_its_class_names_is_refused(tmp_path, load_error):
    path = write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=LABELS, classes=np.array(["cat"]))
    assert "labels: row 1 is 1, outside 0 to 0; correct the label" in load_error(path)


def test_npz_with_python_objects_is_not_unpickled(tmp_path, load_error):
    path = write_npz(tmp_path / "x.npz", x=np.array([object()] * 4, dtype=object), y=LABELS)
    assert "x contains Python objects, which are not loaded" in load_error(path)


def test_empty_npz_array_is_refused(tmp_path, load_error):
    assert "has no training images" in load_error(
        write_npz(tmp_path / "x.npz", x=COLOR_IMAGES[:0], y=LABELS[:0])
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html></html>",
        b"PK\x03\x04 damaged",
        "single array",
        "damaged member",
        "damaged header",
        "unknown compression",
        "newer zip version",
    ],
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
    elif isinstance(content, str):
        _write_hostile_npz(path, content)
    else:
        path.write_bytes(content)
    assert ".npz" in load_error(path)


def _write_hostile_npz(path: Path, damage: str) -> None:
    """Write an .npz with a wrong byte, for which the parsers of NumPy and zipfile have no error."""
    write_npz(path, x=COLOR_IMAGES, y=LABELS)
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")  # the entry of x.npy in the central directory
    if damage == "damaged header":
        position = content.index(b"{'descr'")
        content[position : position + 9] = b"((((((((("
    elif damage == "unknown compression":
        content[directory + 10] = content[8] = 77
    else:
        content[directory + 6] = 240
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        pytest.param(np.eye(2)[LABELS], ("0", "1"), id="one-hot"),
        pytest.param(np.eye(2, dtype=bool)[LABELS], ("0", "1"), id="boolean one-hot"),
        pytest.param(LABELS.astype(float), ("0", "1"), id="whole floats"),
        pytest.param(LABELS.astype(bool), ("False", "True"), id="truth values"),
        pytest.param(np.array([b"cat", b"dog"])[LABELS], ("cat", "dog"), id="bytes"),
    ],
)
def test_npz_labels_of_other_types_are_read(tmp_path, labels, classes, load):
    data = load(write_npz(tmp_path / "x.npz", x=COLOR_IMAGES, y=labels))
    assert data.classes == classes
    assert data.train.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(("images", "labels"), [("trainX", "trainY"), ("XTrain", "Y_Train")])
def test_underscores_in_keys_of_an_npz_make_no_difference(tmp_path, images, labels, load):
    data = load(write_npz(tmp_path / "x.npz", **{images: COLOR_IMAGES, labels: LABELS}))
    assert len(data.train) == 4


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (np.zeros((4, 3072), np.uint8), "x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)"),
        (np.zeros((6, 6, 3, 9), np.uint8), "has the images last; store x.transpose(3, 0, 1, 2)"),
    ],
)
def test_npz_pixels_in_another_order_are_refused_with_the_conversion(
    tmp_path, images, advice, load_error
):
    assert advice in load_error(write_npz(tmp_path / "x.npz", x=images, y=LABELS))
