import json
from pathlib import Path

import numpy as np
import pytest

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
    """An .npz of noise in three classes, with a test split if asked for."""
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


def test_what_steers_and_what_tests_lie_in_folders_of_their_own(source, directory):
    make(source, directory)
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*.*")) == sorted(
        [
            "data.json",
            *ARRAYS,
        ]
    )


def test_the_arrays_are_the_images_of_the_source_split_in_three(source, directory):
    data = make(source, directory)
    whole = load_images(section(source)).train
    train, train_labels, validation, validation_labels = data.train_val_arrays()
    test, test_labels = data.test_arrays()
    assert (
        (len(train), len(validation), len(test))
        == (data.train, data.validation, data.test)
        == (38, 10, 12)
    )
    label_of = {
        image.tobytes(): label for image, label in zip(whole.pixels, whole.labels, strict=True)
    }
    pairs = [(train, train_labels), (validation, validation_labels), (test, test_labels)]
    found = [
        (image.tobytes(), label)
        for images, labels in pairs
        for image, label in zip(images, labels, strict=True)
    ]
    assert dict(found) == label_of
    assert len(found) == 60


def test_the_facts_describe_the_data(source, directory):
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


def test_counts_are_those_of_the_training_images_by_class(tmp_path, directory):
    np.savez(
        tmp_path / "x.npz", x=np.zeros((40, 4, 4), np.uint8), y=np.repeat([0, 1, 2], (20, 5, 15))
    )
    data = make(tmp_path / "x.npz", directory)
    assert data.counts == tuple(np.bincount(data.train_val_arrays()[1]))
    assert sum(data.counts) == data.train


def test_digits_keep_one_channel_and_are_not_mirrored(directory):
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


def test_mean_and_deviation_are_those_of_the_training_images_alone(source, directory):
    data = make(source, directory)
    pixels = np.asarray(data.train_val_arrays()[0]) / 255
    assert np.allclose(data.mean, pixels.mean(axis=(0, 1, 2)))
    assert np.allclose(data.std, pixels.std(axis=(0, 1, 2)))


def test_the_deviation_of_constant_images_is_one_gray_level_not_zero(tmp_path, directory):
    np.savez(tmp_path / "flat.npz", x=np.full((30, 4, 4), 90, np.uint8), y=np.arange(30) % 2)
    assert make(tmp_path / "flat.npz", directory).std == (1 / 255,)


def test_the_arrays_are_read_only_maps(source, directory):
    for array in (
        *make(source, directory).train_val_arrays(),
        *read_prepared(directory).test_arrays(),
    ):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_an_official_test_split_is_the_test_split(tmp_path, directory):
    source = write_source(tmp_path / "x.npz", test=9)
    data = make(source, directory)
    official = load_images(section(source)).test
    assert np.array_equal(data.test_arrays()[0], official.pixels)
    assert np.array_equal(data.test_arrays()[1], official.labels)
    assert (data.train, data.validation, data.test) == (48, 12, 9)


def test_limits_reach_the_files(source, directory):
    data = make(source, directory, max_train_images=9, max_validation_images=6)
    assert [len(array) for array in data.train_val_arrays()] == [9, 9, 6, 6]


def test_the_fractions_reach_the_files(source, directory):
    data = make(source, directory, test_fraction=0.5, validation_fraction=0.5)
    assert (data.train, data.validation, data.test) == (15, 15, 30)


def test_a_second_preparation_does_not_read_the_source(source, directory):
    first = make(source, directory)
    source.unlink()
    assert make(source, directory) == first


def test_read_prepared_gives_what_prepare_gave(source, directory):
    assert (
        make(source, directory)
        == read_prepared(directory)
        == read_prepared(directory, verify_sha256=False)
    )


def test_progress_is_reported(tmp_path, directory):
    from PIL import Image

    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (4, 4), (index, ord(name), 0)).save(
                tmp_path / "images" / name / f"{index}.png"
            )
    heard = []
    prepare(
        section(tmp_path / "images"),
        seed=0,
        directory=directory,
        on_progress=lambda *counts: heard.append(counts),
    )
    assert heard[-1] == (8, 8)


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
    assert read_prepared(directory).skipped_images == ("a/x.png: is empty (0 bytes)",)


def test_one_picture_in_two_splits_is_counted(tmp_path, directory):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    test = np.concatenate([pixels[:2], 255 - pixels[:4]])
    np.savez(
        tmp_path / "x.npz", x=pixels, y=np.arange(12) % 2, x_test=test, y_test=np.arange(6) % 2
    )
    assert make(tmp_path / "x.npz", directory).duplicates == 2


def test_pictures_that_repeat_in_one_split_only_are_not_duplicates(tmp_path, directory):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    test = np.repeat(255 - pixels[:1], 6, axis=0)
    np.savez(
        tmp_path / "x.npz", x=pixels, y=np.arange(12) % 2, x_test=test, y_test=np.arange(6) % 2
    )
    assert make(tmp_path / "x.npz", directory).duplicates == 0


# damage


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped byte"])
def test_damaged_files_are_made_again(source, directory, name, damage):
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
    "content", [b"", b"{", b"[]", b"{}", b'{"format": 1, "data": {}}', b"\xff\xfe"]
)
def test_a_torn_record_is_made_again(source, directory, content):
    first = make(source, directory)
    (directory / "data.json").write_bytes(content)
    with pytest.raises(InputError, match="holds no prepared data"):
        read_prepared(directory)
    assert make(source, directory) == first


def test_what_a_killed_preparation_left_is_removed(source, directory):
    (directory / "train_val").mkdir(parents=True)
    (directory / "train_val" / "train_images.npy.123.tmp").write_bytes(b"part")
    make(source, directory)
    assert not list(directory.rglob("*.tmp"))


def test_damaged_files_of_changed_data_are_an_error_and_nothing_is_touched(source, directory):
    make(source, directory)
    (directory / ARRAYS[0]).unlink()
    before = {path: path.read_bytes() for path in directory.rglob("*.*")}
    write_source(source, seed=1)
    with pytest.raises(InputError, match="the data changed since this run began"):
        make(source, directory)
    assert {path: path.read_bytes() for path in directory.rglob("*.*")} == before


def test_a_directory_of_other_settings_is_refused(source, directory):
    make(source, directory, image_size=6)
    with pytest.raises(
        InputError, match="was prepared with image_size 6 and is now asked for 4; use a new --out"
    ):
        make(source, directory, image_size=4)
    with pytest.raises(InputError, match="was prepared with seed 0 and is now asked for 1"):
        make(source, directory, seed=1, image_size=6)


def test_settings_of_the_training_may_change(source, directory):
    assert make(source, directory, max_shift=0.0, horizontal_flip=False) == make(source, directory)


def test_a_newer_format_is_refused(source, directory):
    make(source, directory)
    record = json.loads((directory / "data.json").read_text())
    (directory / "data.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(InputError, match="format 99 is newer"):
        read_prepared(directory)


def test_nothing_is_written_where_the_data_are_wrong(tmp_path, directory):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4, 4), np.uint8), y=np.array([0, 1, 1]))
    with pytest.raises(InputError, match="fewer than 3 images in class '0'"):
        make(tmp_path / "x.npz", directory)
    assert not directory.exists()


# fingerprint


def test_the_fingerprint_is_the_same_for_the_same_data(source, directory, tmp_path):
    assert make(source, directory).fingerprint == make(source, tmp_path / "other").fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_data_lie(source, directory, tmp_path):
    copy = tmp_path / "copy.npz"
    copy.write_bytes(source.read_bytes())
    assert make(source, directory).fingerprint == make(copy, tmp_path / "other").fingerprint


@pytest.mark.parametrize("change", ["pixel", "label", "class name", "seed", "split"])
def test_the_fingerprint_changes_with(change, tmp_path):
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
