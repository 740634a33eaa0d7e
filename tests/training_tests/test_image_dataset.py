"""What load_images accepts, checks and reports for every kind of source."""

import os

import numpy as np
import pytest

from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import load_images


def test_progress_ends_at_the_number_of_images(tmp_path, two_classes):
    two_classes(tmp_path / "train", count=40)
    two_classes(tmp_path / "test", count=3)
    heard: list[tuple[int, int]] = []
    load_images(
        DataSection(source=str(tmp_path)),
        on_progress=lambda done, total: heard.append((done, total)),
    )
    assert heard[-1] == (86, 86)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_progress_of_many_files_is_told_every_64(tmp_path, two_classes):
    """A million files are so many steps of the same kind."""
    two_classes(tmp_path, count=1)
    for index in range(1000):
        os.link(tmp_path / "cat" / "0.png", tmp_path / "cat" / f"more{index}.png")
    heard = []
    load_images(DataSection(source=str(tmp_path)), on_progress=lambda *counts: heard.append(counts))
    assert {total for _, total in heard} == {1002}
    assert max(np.diff([done for done, _ in heard])) == 64


def test_of_many_bad_images_five_are_named_and_the_rest_counted(tmp_path, load_error, two_classes):
    two_classes(tmp_path)
    for index in range(8):
        (tmp_path / "dog" / f"bad{index}.png").write_bytes(b"")
    message = load_error(tmp_path)
    assert "8 of 12 images" in message
    assert message.count("is empty") == 5
    assert "bad4.png" in message
    assert "and 3 more" in message


def test_bad_images_of_both_splits_are_told_at_once(tmp_path, load_error, two_classes):
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test")
    for split in ("train", "test"):
        (tmp_path / split / "cat" / "x.png").write_bytes(b"")
    message = load_error(tmp_path)
    assert "train/cat/x.png" in message
    assert "test/cat/x.png" in message


def test_a_class_of_bad_images_only_is_an_error_though_they_are_skipped(
    tmp_path, load_error, two_classes
):
    two_classes(tmp_path)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "x.png").write_bytes(b"")
    assert "no image of class 'eel'" in load_error(tmp_path, skip_bad_images=True)


def test_bad_images_only_are_an_error_though_they_are_skipped(tmp_path, load_error):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
    assert "holds no images" in load_error(tmp_path, skip_bad_images=True)


def test_a_misspelt_name_is_met_with_the_nearest(load_error):
    assert "'digit' does not exist; did you mean 'digits'?" in load_error("digit")


def test_a_misspelt_path_is_met_with_the_nearest(tmp_path, load_error):
    (tmp_path / "flowers").mkdir()
    assert f"did you mean '{tmp_path / 'flowers'}'?" in load_error(tmp_path / "flower")


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nul\0l", "~nobody-here/x", "x" * 5000])
def test_a_path_that_does_not_exist_is_refused(source, load_error):
    assert load_error(source)


def test_a_file_of_unknown_kind_is_refused(tmp_path, load_error):
    (tmp_path / "pets.zip").write_bytes(b"PK")
    assert "unknown kind '.zip'" in load_error(tmp_path / "pets.zip")


def test_one_class_is_refused(tmp_path, load_error, save_image):
    save_image(tmp_path / "cat" / "a.png")
    assert "holds one class (cat); a classifier needs at least two" in load_error(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path, load_error, two_classes):
    (two_classes(tmp_path) / "cat").chmod(0)
    assert "cannot be read: Permission denied" in load_error(tmp_path)
