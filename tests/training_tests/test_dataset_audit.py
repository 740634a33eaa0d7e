"""What `phinas data` says of a data set: counted right, and each problem told with its remedy."""

import json

import numpy as np
import pytest

from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.schema.config import DataSection
from phinas.training.data.dataset_audit import MIN_CLASS_IMAGES, audit_dataset
from phinas.training.data.prepared_dataset import prepare

SIZES = {"cat": 60, "dog": 40, "eel": 30}


@pytest.fixture
def write(tmp_path):
    """Write an .npz of distinct images, some of which `change` alters; give its path."""

    def make(change=None, sizes=SIZES, test=10):
        generator = np.random.default_rng(0)
        labels = np.repeat(np.arange(len(sizes)), list(sizes.values()))
        held = np.repeat(np.arange(len(sizes)), test)
        arrays = {
            "x_train": generator.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8),
            "y_train": labels,
            "x_test": generator.integers(0, 256, (len(held), 8, 8, 3), dtype=np.uint8),
            "y_test": held,
        }
        if change:
            change(arrays)
        path = tmp_path / "set.npz"
        np.savez(path, **arrays)
        return path

    return make


@pytest.fixture
def counted(tmp_path):
    def take(path):
        return audit_dataset(
            prepare(DataSection(source=str(path)), seed=0, directory=tmp_path / "prepared")
        )

    return take


def test_images_are_counted_by_class_and_split(write, counted):
    found = counted(write())
    assert found.images == {"train": 104, "validation": 26, "test": 30}
    assert [each.train + each.validation for each in found.classes] == list(SIZES.values())
    assert {each.test for each in found.classes} == {10}
    assert found.imbalance == pytest.approx(2, abs=0.1)
    assert (found.image_size, found.channels) == (8, 3)
    assert found.problems() == []


def test_images_of_the_test_split_that_are_trained_on_are_found(write, counted):
    def leak(arrays):
        arrays["x_test"][:3] = arrays["x_train"][:3]

    found = counted(write(leak))
    assert (found.cross_split_duplicates, found.duplicates, found.label_conflicts) == (3, 0, ())
    assert found.problems() == [
        "3 images are in more than one split: accuracies on them are too high; remove the copies"
    ]


def test_an_image_with_two_labels_is_a_conflict_of_these_classes(write, counted):
    def mislabel(arrays):
        arrays["x_test"][0] = arrays["x_test"][15]  # the first class, and the second

    found = counted(write(mislabel))
    assert found.label_conflicts == (("0", "1"),)
    assert (found.duplicates, found.cross_split_duplicates) == (1, 0)
    assert found.problems()[0] == "one image has more than one label: 0 and 1 (1); mend the labels"


def test_small_classes_and_imbalance_are_told(write, counted):
    found = counted(write(sizes={"a": 300, "b": 12, "c": 18}))
    assert found.imbalance > 20
    few, uneven = found.problems()
    assert few.startswith(f"fewer than {MIN_CLASS_IMAGES} training images in 1 (")
    assert uneven.startswith(
        f"the largest class has {found.imbalance:.0f} times the images of the smallest"
    )


def test_what_the_test_split_can_tell_apart_shrinks_with_its_root(write, counted, tmp_path):
    small = counted(write(test=10)).min_detectable_difference
    (tmp_path / "prepared" / "data.json").unlink()
    large = counted(write(test=1000)).min_detectable_difference
    assert small / large == pytest.approx(10, rel=0.1)


def test_the_command_says_it_all_and_as_json(write, capsys):
    def leak(arrays):
        arrays["x_test"][0] = arrays["x_train"][0]

    path = write(leak)
    assert run_command(cli, ["data", str(path)]) == 0
    told = capsys.readouterr().out
    assert (
        told.splitlines()[0]
        == "set: 104 train, 26 validation, 30 test; 8 pixels of a side, 3 channels; 3 classes"
    )
    assert "problem: one image is in more than one split" in told
    assert run_command(cli, ["data", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["cross_split_duplicates"] == 1
    assert facts["spaces"]["tiny"] == {"resolution": 12, "fits": False}
    assert run_command(cli, ["data", str(path), "--set", "data.image_size=16"]) == 0
    assert "spaces that fit: tiny (12)" in capsys.readouterr().out


def test_a_data_set_that_is_none_is_refused_as_by_a_run(tmp_path, capsys):
    assert run_command(cli, ["data", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
