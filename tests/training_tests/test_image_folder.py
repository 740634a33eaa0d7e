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
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 4, 2)
    folder = tmp_path.name
    assert data.notes == (f"the validation images are those of the split {folder}/val",)


@pytest.mark.parametrize("name", ["val", "validation", "valid", "dev", "eval"])
def test_validation_folder_is_the_test_split_if_there_is_no_test_folder(
    tmp_path, name, load, two_classes
):
    two_classes(tmp_path / "train", count=3)
    two_classes(tmp_path / name, count=1)
    assert len(load(tmp_path).test) == 2


@pytest.mark.parametrize(
    ("train", "test"),
    [("seg_train", "seg_test"), ("training_set", "test_set"), ("Training", "Testing")],
)
def test_split_folders_may_have_a_common_word(tmp_path, train, test, load, two_classes):
    two_classes(tmp_path / train / train, count=3)
    two_classes(tmp_path / test / test, count=1)
    data = load(tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (("cat", "dog"), 6, 2)


def test_test_folder_without_class_folders_is_not_used(tmp_path, load, save_image, two_classes):
    two_classes(tmp_path / "d" / "train", count=3)
    two_classes(tmp_path / "d" / "val", count=1)
    for name in ("test/0.png", "test/1.png"):
        save_image(tmp_path / "d" / name)
    data = load(tmp_path / "d")
    assert (len(data.train), data.validation, len(data.test)) == (6, None, 2)
    assert data.notes[0] == "d/test is not used, because its 2 images have no labels"
    assert "so the split d/val is the test split" in data.notes[1]


def test_test_images_in_one_folder_that_is_no_class_have_no_labels(
    tmp_path, load, save_image, two_classes
):
    two_classes(tmp_path / "d" / "train", count=3)
    save_image(tmp_path / "d" / "test" / "unknown" / "0.png")
    data = load(tmp_path / "d")
    assert data.test is None
    assert data.notes == ("d/test is not used, because its 1 image has no label",)


def test_folders_beside_the_splits_are_named(tmp_path, load, save_image, two_classes):
    for split in ("train", "test"):
        two_classes(tmp_path / "d" / split)
    save_image(tmp_path / "d" / "seg_pred" / "0.png")
    assert load(tmp_path / "d").notes == (
        "not used, because the name is not that of a split: d/seg_pred",
    )


# --- folders around class folders ----------------------------------------------------------------


@pytest.mark.parametrize("wrapper", ["d", "d/d", "d/a/b"])
def test_folders_that_hold_one_folder_are_opened(tmp_path, wrapper, load, two_classes):
    two_classes(tmp_path / wrapper)
    data = load(tmp_path / "d")
    assert data.classes == ("cat", "dog")
    expected = () if wrapper == "d" else (f"the classes are read from the folder {wrapper}",)
    assert data.notes == expected


def test_likely_folder_is_named_if_a_class_folder_has_no_images(tmp_path, load_error, two_classes):
    two_classes(tmp_path / "gtsrb" / "gtsrb")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.h5").write_bytes(b"x")
    message = load_error(tmp_path)
    assert "no image in the class folder model" in message
    assert "the classes were taken from the folders gtsrb, model; did you mean " in message
    assert f"{tmp_path}/gtsrb/gtsrb (2 folders with images)?" in message


def test_likely_folder_is_named_if_a_class_folder_has_a_folder_of_its_name(
    tmp_path, load_error, save_image, two_classes
):
    two_classes(tmp_path / "signs" / "signs")
    save_image(tmp_path / "examples" / "a.png")
    message = load_error(tmp_path)
    assert "the class folder signs has a folder of its own name" in message
    assert f"did you mean {tmp_path}/signs/signs (2 folders with images)?" in message


def test_folders_in_class_folders_are_no_wrappers(tmp_path, load, save_image):
    for name in ("cat/day1", "cat/day2", "dog/day1", "dog/day2"):
        save_image(tmp_path / name / "0.png")
    assert load(tmp_path).classes == ("cat", "dog")


def test_files_that_are_not_images_are_counted_in_one_line(tmp_path, load, two_classes):
    two_classes(tmp_path)
    for name in ("cat/@eaDir/0.png/THUMB.jpg", "dog/@eaDir/THUMB.jpg", "cat/.DS_Store", "a.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loose.png").write_bytes(b"x")
    data = load(tmp_path)
    assert len(data.train) == 4
    assert data.notes == (
        "skipped 5 files that are not images of a class: 2 in @eaDir folders, 1 hidden, 1 .csv, 1 "
        "beside the class folders",
    )


def test_column_names_are_refused(tmp_path, load_error, two_classes):
    assert "has folders instead of columns; remove it" in load_error(
        two_classes(tmp_path), label_column="x"
    )


# -------------------------------------------------------------------------------------------------


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
    assert "eel cannot be read: Too many levels of symbolic links" in load_error(tmp_path)


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
    assert "the splits have different classes" in message
    assert "the train split has no class 'eel', but test has" in message


def test_test_split_may_lack_a_class(tmp_path, load, save_image, two_classes):
    save_image(two_classes(tmp_path / "train") / "eel" / "a.png")
    two_classes(tmp_path / "test")
    data = load(tmp_path)
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    assert "the test split has no image of 1 of the 3 classes: eel" in data.notes
