"""Tests of `phinas audit`: counts and problems of a data set."""

import json

import numpy as np
import pytest

import phinas
from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.audit_problems import MIN_CLASS_IMAGES, list_problems
from phinas.training.data.dataset_audit import audit_dataset
from phinas.training.data.prepared_dataset import prepare

SIZES = {"cat": 60, "dog": 40, "eel": 30}


@pytest.fixture
def write(tmp_path):
    """Function that writes distinct images, altered by `change(arrays)`, and returns the path."""

    def make(change=None, sizes=SIZES, test=10):
        generator = np.random.default_rng(0)
        labels = np.repeat(np.arange(len(sizes)), list(sizes.values()))
        test_labels = np.repeat(np.arange(len(sizes)), test)
        arrays = {
            "x_train": generator.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8),
            "y_train": labels,
            "x_test": generator.integers(0, 256, (len(test_labels), 8, 8, 3), dtype=np.uint8),
            "y_test": test_labels,
        }
        if change:
            change(arrays)
        path = tmp_path / "set.npz"
        np.savez(path, **arrays)
        return path

    return make


@pytest.fixture
def run_audit(tmp_path):
    def audit_file(path):
        return audit_dataset(
            prepare(DataSection(source=str(path)), seed=0, directory=tmp_path / "prepared")
        )

    return audit_file


def test_images_are_counted_by_class_and_split(write, run_audit):
    audit = run_audit(write())
    assert audit.images == {"train": 104, "validation": 26, "test": 30}
    assert [row.train + row.validation for row in audit.classes] == list(SIZES.values())
    assert {row.test for row in audit.classes} == {10}
    assert audit.imbalance == pytest.approx(2, abs=0.1)
    assert (audit.image_size, audit.channels) == (8, 3)
    assert list_problems(audit) == []


def test_duplicate_images_across_splits_are_reported(write, run_audit):
    def leak(arrays):
        arrays["x_test"][:3] = arrays["x_train"][:3]

    audit = run_audit(write(leak))
    assert (audit.cross_split_duplicates, audit.duplicates, audit.label_conflicts) == (3, 0, ())
    assert list_problems(audit) == [
        "3 images are in more than one split, so accuracies are too high; remove the copies"
    ]


def test_image_with_two_labels_is_reported_with_its_classes(write, run_audit):
    def mislabel(arrays):
        # the two images have the first and the second class
        arrays["x_test"][0] = arrays["x_test"][15]

    audit = run_audit(write(mislabel))
    assert audit.label_conflicts == (("0", "1"),)
    assert (audit.duplicates, audit.cross_split_duplicates) == (1, 0)
    assert list_problems(audit)[0] == (
        "one image has more than one label: 0 and 1 (1); correct the labels"
    )


def test_small_classes_and_imbalance_are_reported(write, run_audit):
    audit = run_audit(write(sizes={"a": 300, "b": 12, "c": 18}))
    assert audit.imbalance > 20
    small_classes, imbalance = list_problems(audit)
    assert small_classes.startswith(f"fewer than {MIN_CLASS_IMAGES} training images in 1 (")
    assert imbalance.startswith(
        f"the largest class has {audit.imbalance:.0f} times as many images as the smallest"
    )


def test_detectable_difference_is_inverse_to_the_root_of_the_number_of_test_images(
    write, run_audit, tmp_path
):
    small = run_audit(write(test=10)).min_detectable_difference
    (tmp_path / "prepared" / "data.json").unlink()
    large = run_audit(write(test=1000)).min_detectable_difference
    assert small / large == pytest.approx(10, rel=0.1)


def test_command_prints_text_or_json(write, capsys):
    def leak(arrays):
        arrays["x_test"][0] = arrays["x_train"][0]

    path = write(leak)
    assert run_command(cli, ["audit", str(path)]) == 0
    output = capsys.readouterr().out
    assert (
        output.splitlines()[0]
        == "set: 104 train, 26 validation, 30 test; 8 x 8 px, 3 channels; 3 classes"
    )
    assert "problem: one image is in more than one split" in output
    assert run_command(cli, ["audit", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["cross_split_duplicates"] == 1
    assert result["spaces"]["tiny"] == {"resolution": 12, "fits": False}
    assert run_command(cli, ["audit", str(path), "--set", "data.image_size=16"]) == 0
    assert "search spaces with resolutions up to 16 px: tiny (12)" in capsys.readouterr().out


def test_missing_source_is_refused(tmp_path, capsys):
    assert run_command(cli, ["audit", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_python_function_returns_what_the_command_prints(write, capsys):
    path = write()
    result = phinas.audit(str(path), seed=3, settings={"data.validation_fraction": 0.5})
    assert result.dataset.images == {"train": 65, "validation": 65, "test": 30}
    arguments = ["--seed", "3", "--set", "data.validation_fraction=0.5"]
    assert run_command(cli, ["audit", str(path), "--json", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == result.to_dict()


def test_error_about_an_argument_has_its_name(write):
    with pytest.raises(InputError, match=r"^seed: -1"):
        phinas.audit(str(write()), seed=-1)
