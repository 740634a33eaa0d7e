"""Tests of class folders, with and without split folders."""

import os

import numpy as np
import pytest

RED, BLUE = (220, 20, 20), (20, 20, 220)


def test_each_folder_is_a_class_and_each_file_an_image(tmp_path, load, two_classes):
    data = load(two_classes(tmp_path))
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.labels.dtype == np.int64
    assert data.train.pixels[:, 0, 0].tolist() == [list(RED)] * 2 + [list(BLUE)] * 2
    assert data.allow_flip
    assert data.test is None


def test_data_set_has_the_name_of_the_folder(tmp_path, load, two_classes):
    assert load(two_classes(tmp_path / "pets")).name == "pets"


def test_image_order_does_not_depend_on_the_order_of_creation(tmp_path, load, save_image):
    for root, names in ((tmp_path / "one", "abc"), (tmp_path / "two", "cba")):
        for name in names:
            save_image(root / "x" / f"{name}.png", (ord(name), 0, 0))
        save_image(root / "y" / "a.png")
    assert np.array_equal(load(tmp_path / "one").train.pixels, load(tmp_path / "two").train.pixels)


def test_images_in_folders_inside_a_class_folder_are_read(tmp_path, load, save_image, two_classes):
    save_image(two_classes(tmp_path) / "cat" / "more" / "deeper" / "x.png")
    assert load(tmp_path).train.labels.tolist() == [0, 0, 0, 1, 1]


def test_train_and_test_folders_are_the_splits(tmp_path, load, two_classes):
    two_classes(tmp_path / "train", count=3)
    two_classes(tmp_path / "test", count=1)
    two_classes(tmp_path / "val", count=2)
    data = load(tmp_path)
    assert (len(data.train), len(data.test)) == (6, 2)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_validation_folder_is_the_test_split_if_there_is_no_test_folder(
    tmp_path, name, load, two_classes
):
    two_classes(tmp_path / "train", count=3)
    two_classes(tmp_path / name, count=1)
    assert len(load(tmp_path).test) == 2


def test_class_may_have_the_name_train(tmp_path, load, save_image):
    save_image(tmp_path / "train" / "a.png")
    save_image(tmp_path / "car" / "a.png")
    assert load(tmp_path).classes == ("car", "train")


def test_dotfiles_and_text_files_are_skipped(tmp_path, load, two_classes):
    two_classes(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / ".cache").mkdir()
    assert len(load(tmp_path).train) == 4


def test_folders_in_a_loop_of_links_are_read_once(tmp_path, load, two_classes):
    two_classes(tmp_path)
    (tmp_path / "cat" / "self").symlink_to(tmp_path / "cat")
    (tmp_path / "cat" / "all").symlink_to(tmp_path)
    assert load(tmp_path).train.labels.tolist() == [0, 0, 1, 1]


def test_link_to_a_folder_of_images_is_followed(tmp_path, load, save_image, two_classes):
    save_image(tmp_path / "elsewhere" / "x.png")
    two_classes(tmp_path / "data")
    (tmp_path / "data" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    assert load(tmp_path / "data").train.labels.tolist() == [0, 0, 0, 1, 1]


def test_paths_may_contain_spaces_and_emoji(tmp_path, load, two_classes):
    assert load(two_classes(tmp_path / "my 🐈 pictures")).name == "my 🐈 pictures"


def test_class_name_that_is_not_unicode_is_escaped(tmp_path, load, save_image, two_classes):
    save_image(two_classes(tmp_path) / os.fsdecode(b"caf\xe9") / "0.png")
    assert load(tmp_path).classes == (r"caf\udce9", "cat", "dog")


def test_class_folder_that_links_to_itself_is_refused(tmp_path, load_error, two_classes):
    (two_classes(tmp_path) / "eel").symlink_to(tmp_path / "eel")
    assert "eel: cannot be read: Too many levels of symbolic links" in load_error(tmp_path)


def test_pipe_among_the_images_is_skipped(tmp_path, load, two_classes):
    os.mkfifo(two_classes(tmp_path) / "cat" / "x.png")
    assert len(load(tmp_path).train) == 4


def test_empty_folder_is_refused(tmp_path, load_error):
    assert "is empty; put the images of each class into a folder" in load_error(tmp_path)


def test_images_without_class_folders_are_refused(tmp_path, load_error, save_image):
    save_image(tmp_path / "a.png")
    assert "contains files but no class folders" in load_error(tmp_path)


def test_empty_class_folder_is_refused(tmp_path, load_error, two_classes):
    (two_classes(tmp_path) / "eel").mkdir()
    assert "no image in the class folder eel" in load_error(tmp_path)


def test_different_classes_in_the_splits_are_refused(tmp_path, load_error, save_image, two_classes):
    two_classes(tmp_path / "train")
    save_image(tmp_path / "test" / "cat" / "a.png")
    save_image(tmp_path / "test" / "eel" / "a.png")
    message = load_error(tmp_path)
    assert "test has no class 'dog'" in message
    assert "train has no class 'eel'" in message
