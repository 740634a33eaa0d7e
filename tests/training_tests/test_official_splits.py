"""Tests of official splits and of classes with few images, for all sources."""

import numpy as np
import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.labeling.split_names import select_splits, split_of_file, split_of_name
from phinas.training.data.prepared_dataset import prepare


def write_npz(path, *, labels, **splits):
    """Write random images with these labels, and those of other splits."""
    arrays = {}
    for seed, (name, values) in enumerate({"train": labels, **splits}.items()):
        noise = np.random.default_rng(seed)
        arrays[f"x_{name}"] = noise.integers(0, 256, (len(values), 6, 6, 3), dtype=np.uint8)
        arrays[f"y_{name}"] = np.array(values)
    np.savez(path, **arrays)
    return path


def make(path, directory, **options):
    section = DataSection.model_validate({"source": str(path)} | options)
    return prepare(section, seed=0, directory=directory)


def test_official_validation_split_is_used_unchanged(tmp_path, load):
    path = write_npz(tmp_path / "x.npz", labels=[0, 1] * 8, val=[0, 1, 1], test=[1, 0])
    data = make(path, tmp_path / "data")
    source = load(path)
    train, train_labels, validation, validation_labels = data.train_val_arrays()
    assert np.array_equal(train, source.train.pixels)
    assert train_labels.tolist() == [0, 1] * 8
    assert np.array_equal(validation, source.validation.pixels)
    assert validation_labels.tolist() == [0, 1, 1]
    assert np.array_equal(data.test_arrays()[0], source.test.pixels)
    assert "the validation images are those of the split" in data.notes[0]


def test_limits_apply_to_official_splits(tmp_path):
    path = write_npz(tmp_path / "x.npz", labels=[0, 1] * 8, val=[0, 1] * 4, test=[1, 0])
    data = make(path, tmp_path / "data", max_train_images=6, max_validation_images=4)
    assert (data.train, data.validation, data.test) == (6, 4, 2)


def test_validation_split_is_the_test_split_if_there_is_no_test_split(tmp_path, load):
    path = write_npz(tmp_path / "x.npz", labels=[0, 1] * 8, val=[0, 1, 1])
    data = make(path, tmp_path / "data")
    assert (data.train + data.validation, data.test) == (16, 3)
    assert data.validation > 0
    assert np.array_equal(data.test_arrays()[0], load(path).test.pixels)
    assert data.notes[0].startswith("there is no labeled test split, so the split ")


def test_class_of_one_image_is_for_training_only(tmp_path):
    path = write_npz(tmp_path / "x.npz", labels=[0] * 10 + [1] * 10 + [2] + [3] * 2)
    data = make(path, tmp_path / "data")
    assert data.counts[2:] == (1, 2)
    assert data.test_counts[2:] == (0, 0)
    assert any("2 classes have fewer than 3" in note and "2, 3" in note for note in data.notes)


def test_classes_with_fewer_images_than_the_minimum_are_dropped(tmp_path):
    path = write_npz(tmp_path / "x.npz", labels=[0] * 10 + [1] + [2] * 10 + [3] * 2, test=[2, 1, 0])
    data = make(path, tmp_path / "data", min_images_per_class=3)
    assert data.classes == ("0", "2")
    assert data.train + data.validation == 20
    assert data.test_arrays()[1].tolist() == [1, 0]
    assert data.notes[0] == (
        "dropped 2 classes with fewer than 3 training images (4 images in total): 1, 3"
    )


def test_dropped_classes_of_encoded_images_are_not_decoded(tmp_path, load, save_image):
    for name, count in (("cat", 3), ("dog", 3), ("eel", 1)):
        for index in range(count):
            save_image(tmp_path / name / f"{index}.png", (index, 0, ord(name[0])))
    (tmp_path / "eel" / "0.png").write_bytes(b"")
    data = load(tmp_path, min_images_per_class=2)
    assert data.classes == ("cat", "dog")
    assert data.train.pixels[:, 0, 0, 2].tolist() == [ord("c")] * 3 + [ord("d")] * 3


def test_minimum_that_leaves_one_class_is_refused(tmp_path, load_error):
    path = write_npz(tmp_path / "x.npz", labels=[0] * 10 + [1] * 9)
    assert "has only one class (0)" in load_error(path, min_images_per_class=10)


def test_source_whose_classes_have_one_image_each_is_refused(tmp_path):
    path = write_npz(tmp_path / "x.npz", labels=list(range(9)))
    with pytest.raises(InputError, match=r"fewer than 3 .* in class '0'"):
        make(path, tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("VAL", "validation"), ("dev", "validation"), ("cat", None)],
)
def test_name_of_a_split_is_recognized(name, split):
    assert split_of_name(name) == split


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("test2.csv", "test"),
        ("valset.csv", "validation"),
        ("evaluation.csv", "validation"),
        ("trained_birds.csv", None),
        ("0.parquet", None),
    ],
)
def test_split_of_a_file_is_its_first_word(name, split):
    assert split_of_file(name) == split


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "val", "valid", "x"], {"train": "train", "validation": "val"}),
        (["a_train", "b_test", "a_val"], {"train": "a_train", "validation": "a_val"}),
        (["train_station", "bullet_train"], {}),
        (["val", "test"], {}),
    ],
)
def test_splits_are_selected_by_their_names(names, splits):
    assert {key: select_splits(names).get(key) for key in splits} == splits
    assert bool(splits) == ("train" in select_splits(names))
