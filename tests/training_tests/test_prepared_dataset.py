"""Tests of prepared data: files, splits, repair of damaged files, fingerprint."""

import json
from pathlib import Path

import numpy as np
import pytest

from phinas.experiment.artifacts.manifest import DuplicateCounts
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import load_images
from phinas.training.data.prepared_dataset import PreparedData, prepare, read_prepared

ARRAYS = [
    "train_val/train_images.npy",
    "train_val/train_labels.npy",
    "train_val/validation_images.npy",
    "train_val/validation_labels.npy",
    "test/images.npy",
    "test/labels.npy",
]


def write_source(
    path: Path, *, seed: int = 0, test: int = 0, count: int = 60, image_size: int = 6
) -> Path:
    """Write an .npz of random images in three classes, with `test` images of a test split."""
    noise = np.random.default_rng(seed)
    arrays = {
        "x": noise.integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8),
        "y": np.arange(count) % 3,
    }
    if test:
        arrays |= {
            "x_test": noise.integers(0, 256, (test, image_size, image_size, 3), dtype=np.uint8),
            "y_test": np.arange(test) % 3,
        }
    np.savez(path, **arrays)
    return path


def section(source: Path, **options: object) -> DataSection:
    return DataSection.model_validate({"source": str(source)} | options)


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "noise.npz")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run" / "data"


def make(source: Path, directory: Path, *, seed: int = 0, **options: object) -> PreparedData:
    return prepare(section(source, **options), seed=seed, directory=directory)


def test_train_val_and_test_are_separate_folders(source, directory):
    make(source, directory)
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*.*")) == sorted(
        [
            "data.json",
            *ARRAYS,
        ]
    )


def test_arrays_are_the_images_of_the_source_in_three_splits(source, directory):
    data = make(source, directory)
    all_images = load_images(section(source)).train
    train, train_labels, validation, validation_labels = data.train_val_arrays()
    test, test_labels = data.test_arrays()
    assert (
        (len(train), len(validation), len(test))
        == (data.train, data.validation, data.test)
        == (38, 10, 12)
    )
    label_of = {
        image.tobytes(): label
        for image, label in zip(all_images.pixels, all_images.labels, strict=True)
    }
    pairs = [(train, train_labels), (validation, validation_labels), (test, test_labels)]
    labeled_images = [
        (image.tobytes(), label)
        for images, labels in pairs
        for image, label in zip(images, labels, strict=True)
    ]
    assert dict(labeled_images) == label_of
    assert len(labeled_images) == 60


def test_summary_describes_the_data(source, directory):
    data = make(source, directory, image_size=4)
    assert (data.name, data.classes, data.channels, data.image_size, data.allow_flip) == (
        "noise",
        ("0", "1", "2"),
        3,
        4,
        True,
    )
    assert data.skipped_images == ()
    assert len(data.fingerprint) == 16


def test_counts_are_training_and_test_images_by_class(tmp_path, directory):
    np.savez(
        tmp_path / "x.npz", x=np.zeros((40, 4, 4), np.uint8), y=np.repeat([0, 1, 2], (20, 5, 15))
    )
    data = make(tmp_path / "x.npz", directory)
    assert data.counts == tuple(np.bincount(data.train_val_arrays()[1]))
    assert sum(data.counts) == data.train
    assert data.test_counts == tuple(np.bincount(data.test_arrays()[1]))
    assert sum(data.test_counts) == data.test


def test_digits_have_one_channel_and_do_not_allow_horizontal_flips(directory):
    data = make("digits", directory)
    assert (
        data.channels,
        data.image_size,
        data.allow_flip,
        data.train + data.validation + data.test,
    ) == (
        1,
        8,
        False,
        1797,
    )


def test_mean_and_std_are_those_of_the_training_images(source, directory):
    data = make(source, directory)
    pixels = np.asarray(data.train_val_arrays()[0]) / 255
    assert np.allclose(data.mean, pixels.mean(axis=(0, 1, 2)))
    assert np.allclose(data.std, pixels.std(axis=(0, 1, 2)))


def test_constant_images_have_an_std_of_one_gray_level(tmp_path, directory):
    np.savez(tmp_path / "flat.npz", x=np.full((30, 4, 4), 90, np.uint8), y=np.arange(30) % 2)
    assert make(tmp_path / "flat.npz", directory).std == (1 / 255,)


def test_arrays_are_memory_mapped_and_read_only(source, directory):
    for array in (
        *make(source, directory).train_val_arrays(),
        *read_prepared(directory).test_arrays(),
    ):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_official_test_split_is_used(tmp_path, directory):
    source = write_source(tmp_path / "x.npz", test=9)
    data = make(source, directory)
    official = load_images(section(source)).test
    assert np.array_equal(data.test_arrays()[0], official.pixels)
    assert np.array_equal(data.test_arrays()[1], official.labels)
    assert (data.train, data.validation, data.test) == (48, 12, 9)


def test_maximum_numbers_of_images_are_applied(source, directory):
    data = make(source, directory, max_train_images=9, max_validation_images=6)
    assert [len(array) for array in data.train_val_arrays()] == [9, 9, 6, 6]


def test_fractions_are_applied(source, directory):
    data = make(source, directory, test_fraction=0.5, validation_fraction=0.5)
    assert (data.train, data.validation, data.test) == (15, 15, 30)


def test_prepared_data_is_reused_without_the_source(source, directory):
    first = make(source, directory)
    source.unlink()
    assert make(source, directory) == first


def test_read_prepared_returns_what_prepare_returned(source, directory):
    assert (
        make(source, directory)
        == read_prepared(directory)
        == read_prepared(directory, verify_sha256=False)
    )


def test_progress_ends_at_the_number_of_images(tmp_path, directory):
    from PIL import Image

    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (4, 4), (index, ord(name), 0)).save(
                tmp_path / "images" / name / f"{index}.png"
            )
    reports = []
    prepare(
        section(tmp_path / "images"),
        seed=0,
        directory=directory,
        on_progress=lambda *counts: reports.append(counts),
    )
    assert reports[-1] == (8, 8)


def test_skipped_images_are_recorded(tmp_path, directory):
    from PIL import Image

    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (4, 4), (index, ord(name), 0)).save(
                tmp_path / "images" / name / f"{index}.png"
            )
    (tmp_path / "images" / "a" / "x.png").write_bytes(b"")
    make(tmp_path / "images", directory, skip_bad_images=True)
    assert read_prepared(directory).skipped_images == ("a/x.png is empty (0 bytes)",)


def test_test_images_that_are_also_training_images_of_the_source_are_counted(tmp_path, directory):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    test = np.concatenate([pixels[:2], 255 - pixels[:4]])
    np.savez(
        tmp_path / "x.npz", x=pixels, y=np.arange(12) % 2, x_test=test, y_test=np.arange(6) % 2
    )
    assert make(tmp_path / "x.npz", directory).duplicates == DuplicateCounts(test_in_train=2)


def test_copies_within_one_split_are_counted_as_repeats(tmp_path, directory):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    test = np.repeat(255 - pixels[:1], 6, axis=0)
    np.savez(
        tmp_path / "x.npz", x=pixels, y=np.arange(12) % 2, x_test=test, y_test=np.arange(6) % 2
    )
    duplicates = make(tmp_path / "x.npz", directory).duplicates
    assert duplicates == DuplicateCounts(repeats=5, with_other_label=6)


# --- damaged files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped byte"])
def test_damaged_arrays_are_prepared_again(source, directory, name, damage):
    first = make(source, directory)
    path = directory / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        content[-1] ^= 1
        path.write_bytes(content)
    with pytest.raises(InputError, match="damaged; `phinas resume`"):
        read_prepared(directory)
    assert make(source, directory) == first
    assert read_prepared(directory) == first


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format": "phinas/prepared-data", "version": 1, "data": {}}',
        b"\xff\xfe",
    ],
)
def test_damaged_metadata_is_prepared_again(source, directory, content):
    first = make(source, directory)
    (directory / "data.json").write_bytes(content)
    with pytest.raises(InputError, match="holds no prepared images"):
        read_prepared(directory)
    assert make(source, directory) == first


def test_images_that_are_prepared_again_keep_their_size(tmp_path, directory):
    source = write_source(tmp_path / "x.npz", image_size=12)
    first = prepare(section(source), seed=0, directory=directory, max_size=8)
    assert first.image_size == 8
    (directory / ARRAYS[0]).unlink()
    assert prepare(section(source), seed=0, directory=directory, max_size=10) == first


@pytest.mark.parametrize(
    ("option", "value"),
    [("resize_mode", "squash"), ("min_images_per_class", 2), ("label_column", "y")],
)
def test_other_reading_options_are_refused(source, directory, option, value):
    make(source, directory)
    with pytest.raises(InputError, match=f"was prepared with {option} "):
        make(source, directory, **{option: value})


def test_temporary_files_of_a_killed_preparation_are_removed(source, directory):
    (directory / "train_val").mkdir(parents=True)
    (directory / "train_val" / "train_images.npy.123.tmp").write_bytes(b"part")
    make(source, directory)
    assert not list(directory.rglob("*.tmp"))


def test_damaged_arrays_of_a_changed_source_are_an_error_and_unchanged(source, directory):
    make(source, directory)
    (directory / ARRAYS[0]).unlink()
    before = {path: path.read_bytes() for path in directory.rglob("*.*")}
    write_source(source, seed=1)
    with pytest.raises(InputError, match="the images changed since this run started"):
        make(source, directory)
    assert {path: path.read_bytes() for path in directory.rglob("*.*")} == before


def test_directory_prepared_with_other_settings_is_refused(source, directory):
    make(source, directory, image_size=6)
    with pytest.raises(
        InputError, match="was prepared with image_size 6 and 4 is requested; use a new --out"
    ):
        make(source, directory, image_size=4)
    with pytest.raises(InputError, match="was prepared with seed 0 and 1 is requested"):
        make(source, directory, seed=1, image_size=6)


def test_augmentation_options_may_change(source, directory):
    assert make(source, directory, max_shift=0.0, horizontal_flip=False) == make(source, directory)


def test_newer_format_is_refused_and_unchanged(source, directory):
    make(source, directory)
    record = json.loads((directory / "data.json").read_text())
    content = json.dumps(record | {"version": 99})
    (directory / "data.json").write_text(content)
    for read in (read_prepared, lambda directory: make(source, directory)):
        with pytest.raises(InputError, match="format version 99 is newer"):
            read(directory)
    assert (directory / "data.json").read_text() == content


def test_invalid_source_writes_no_files(tmp_path, directory):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4, 4), np.uint8), y=np.array([0, 1, 1]))
    with pytest.raises(InputError, match="fewer than 3 images in class '0', '1', but two"):
        make(tmp_path / "x.npz", directory)
    assert not directory.exists()


# --- fingerprint ---------------------------------------------------------------------------------


def test_fingerprint_is_equal_for_equal_data(source, directory, tmp_path):
    assert make(source, directory).fingerprint == make(source, tmp_path / "other").fingerprint


def test_fingerprint_does_not_depend_on_the_path(source, directory, tmp_path):
    copy = tmp_path / "copy.npz"
    copy.write_bytes(source.read_bytes())
    assert make(source, directory).fingerprint == make(copy, tmp_path / "other").fingerprint


@pytest.mark.parametrize("change", ["pixel", "label", "class name", "seed", "split"])
def test_fingerprint_depends_on_the_content_and_the_split(change, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    labels, classes = np.arange(30) % 3, np.array(["a", "b", "c"])
    np.savez(tmp_path / "old.npz", x=pixels, y=labels, classes=classes)
    if change == "pixel":
        pixels[17, 2, 2] ^= 1
    elif change == "label":
        labels[[0, 1]] = labels[[1, 0]]
    elif change == "class name":
        classes[2] = "d"
    np.savez(tmp_path / "new.npz", x=pixels, y=labels, classes=classes)
    old = make(tmp_path / "old.npz", tmp_path / "old")
    options = {"validation_fraction": 0.4} if change == "split" else {}
    new = make(tmp_path / "new.npz", tmp_path / "new", seed=int(change == "seed"), **options)
    assert old.fingerprint != new.fingerprint
