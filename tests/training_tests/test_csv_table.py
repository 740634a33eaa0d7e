"""Tests of CSV files with the paths and the labels of images."""

import pytest

RED, BLUE = (220, 20, 20), (20, 20, 220)


@pytest.fixture
def pets(tmp_path, save_image):
    """Folder with two red and two blue images in the folder `images`."""
    for index in range(2):
        save_image(tmp_path / "pets" / "images" / f"cat{index}.png", RED)
        save_image(tmp_path / "pets" / "images" / f"dog{index}.png", BLUE)
    return tmp_path / "pets"


ROWS = [("cat0.png", "cat"), ("dog0.png", "dog"), ("cat1.png", "cat"), ("dog1.png", "dog")]


def write_table(path, rows=ROWS, *, header=("image", "label"), delimiter=","):
    path.write_text("\n".join(delimiter.join(row) for row in [header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("is_folder", [True, False])
def test_file_and_folder_with_one_file_are_read(pets, is_folder, load):
    path = write_table(pets / "labels.csv")
    data = load(pets if is_folder else path)
    assert data.name == ("pets" if is_folder else "labels")
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    assert data.train.pixels[:, 0, 0].tolist() == [list(RED), list(BLUE)] * 2


@pytest.mark.parametrize("prefix", ["", "images/", "./images/"])
@pytest.mark.parametrize("suffix", ["", ".png"])
def test_paths_may_lack_their_folder_and_suffix(pets, prefix, suffix, load):
    rows = [(f"{prefix}{name.removesuffix('.png')}{suffix}", label) for name, label in ROWS]
    write_table(pets / "labels.csv", rows)
    assert load(pets).train.labels.tolist() == [0, 1, 0, 1]


def test_absolute_paths_and_windows_separators_are_understood(pets, load):
    rows = [(str(pets / "images" / "cat0.png"), "cat"), ("images\\dog0.png", "dog")]
    write_table(pets / "labels.csv", [*rows, *ROWS[2:]])
    assert len(load(pets).train) == 4


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_common_delimiters_are_recognized(pets, delimiter, load):
    write_table(pets / "labels.csv", delimiter=delimiter)
    assert len(load(pets).train) == 4


@pytest.mark.parametrize("header", [("image_id", "class"), ("Filename", "Category"), ("path", "y")])
def test_common_names_of_columns_are_recognized(pets, header, load):
    write_table(pets / "labels.csv", header=header)
    assert load(pets).classes == ("cat", "dog")


def test_named_columns_are_read(pets, load, load_error):
    rows = [(name, label, name[3]) for name, label in ROWS]
    write_table(pets / "labels.csv", rows, header=("image", "label", "second"))
    assert load(pets, label_column="second").classes == ("0", "1")
    assert "has no column 'third', only image, label, second" in load_error(
        pets, label_column="third"
    )


def test_numbers_are_sorted_by_value(pets, load):
    numbers = {"cat": "10", "dog": "9"}
    write_table(pets / "labels.csv", [(name, numbers[label]) for name, label in ROWS])
    assert load(pets).classes == ("9", "10")


def test_column_split_assigns_rows_to_splits(pets, load):
    splits = ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    rows = [(*row, split) for row, split in zip(ROWS * 3, splits, strict=True)]
    write_table(pets / "labels.csv", rows, header=("image", "label", "split"))
    data = load(pets)
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 4, 4)


def test_files_named_like_splits_are_the_splits(pets, load):
    write_table(pets / "train.csv")
    write_table(pets / "valid.csv", ROWS[:2])
    write_table(pets / "test.csv", ROWS[:3])
    data = load(pets)
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 2, 3)


def test_test_file_without_labels_is_not_used(pets, load):
    write_table(pets / "train.csv")
    write_table(pets / "test.csv", [("cat0.png",)], header=("image",))
    data = load(pets)
    assert data.test is None
    assert "test.csv is not used, because its 1 image has no label" in data.notes


def test_column_of_groups_is_read(pets, load):
    rows = [(*row, f"day{index}") for index, row in enumerate(ROWS)]
    write_table(pets / "labels.csv", rows, header=("image", "label", "day"))
    assert load(pets, group_by="day").train.groups.tolist() == ["day0", "day1", "day2", "day3"]


def test_table_itself_does_not_count_as_a_skipped_file(pets, load):
    write_table(pets / "labels.csv")
    assert load(pets).notes == ()
    write_table(pets / "other.txt")
    assert load(pets).notes == ("skipped 1 file that is not an image of a class: 1 .txt",)


def test_image_files_outside_the_table_are_counted(pets, load):
    write_table(pets / "labels.csv", ROWS[:2])
    assert "2 image files are not in the table, so they have no label" in load(pets).notes


def test_class_folders_with_a_table_beside_them_are_class_folders(tmp_path, two_classes, load):
    two_classes(tmp_path)
    write_table(tmp_path / "metadata.csv", [("x", "y")])
    data = load(tmp_path)
    assert len(data.train) == 4
    assert data.notes == ("skipped 1 file that is not an image of a class: 1 .csv",)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("cat9.png", "cat"), *ROWS], "1 of 5 images are not found in"),
        ([("", "cat"), *ROWS], "1 of 5 images are not found in"),
        ([("cat0.png", ""), *ROWS], "row 0 has no label (1 in total)"),
        ([("cat0.png", "cat", "more"), *ROWS], "a row has more cells than the header"),
        ([("cat0.png", "")], "no image has a label"),
        ([], "has no training images"),
    ],
)
def test_wrong_rows_are_refused(pets, rows, problem, load_error):
    write_table(pets / "labels.csv", rows)
    message = load_error(pets)
    assert problem in message
    assert "labels.csv" in message or "pets" in message


def test_name_of_two_files_is_refused(pets, save_image, load_error):
    save_image(pets / "images" / "more" / "cat0.png")
    rows = [("cat0", "cat"), *ROWS[1:]]
    (pets / "images" / "more").rename(pets / "more")
    assert "1 of 4 images mean several files" in load_error(write_table(pets / "labels.csv", rows))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00a", b'image,label\n"a,b\n', b"\x00\x00"])
def test_file_that_is_no_table_is_refused(pets, content, load_error):
    (pets / "labels.csv").write_bytes(content)
    assert "labels.csv" in load_error(pets / "labels.csv")


def test_several_files_without_a_train_file_are_refused(pets, load_error):
    write_table(pets / "a.csv"), write_table(pets / "b.csv")
    assert "has several tables (a.csv, b.csv) and no train.csv" in load_error(pets)


# --- tables as competitions write them -----------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        ("File Name", "Class Label"),
        ("Image Index", "Finding Labels"),
        ("filepaths", "labels"),
        ("fname", "CATEGORY"),
        ("id", "breed"),
        ("something", "breed"),
    ],
)
def test_other_names_of_columns_are_recognized(pets, header, load):
    write_table(pets / "labels.csv", header=header)
    assert load(pets).classes == ("cat", "dog")


@pytest.mark.parametrize("marks", [("0", "1"), ("0.0", "1.0")])
def test_one_hot_columns_are_the_classes(pets, marks, load):
    rows = [(name, marks[label == "cat"], marks[label == "dog"]) for name, label in ROWS]
    write_table(pets / "labels.csv", rows, header=("image", "Cat", "Dog"))
    data = load(pets)
    assert data.classes == ("Cat", "Dog")
    assert data.train.labels.tolist() == [0, 1, 0, 1]


def test_images_with_several_marked_classes_are_refused(pets, load_error):
    rows = [(name, "1", "1" if label == "dog" else "0") for name, label in ROWS]
    write_table(pets / "labels.csv", rows, header=("image", "a", "b"))
    message = load_error(pets)
    assert "labels.csv: a, b: row 1 has 2 labels (2 such rows)" in message


def test_whole_numbers_with_a_decimal_point_are_integers(pets, load):
    numbers = {"cat": "10.0", "dog": "9.0"}
    write_table(pets / "labels.csv", [(name, numbers[label]) for name, label in ROWS])
    assert load(pets).classes == ("9", "10")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (("0.37", "0.5", "1.25", "2.75"), "row 0 is 0.37, a number with a fraction"),
        (("[0, 1]", "a", "b", "a"), "row 0 is [0, 1], a list or an object"),
        (("NaN", "a", "b", "a"), "row 0 has no label (1 in total)"),
    ],
)
def test_labels_that_are_no_class_are_refused(pets, labels, problem, load_error):
    rows = [(name, f'"{label}"') for (name, _), label in zip(ROWS, labels, strict=True)]
    write_table(pets / "labels.csv", rows)
    assert problem in load_error(pets)


def test_labels_that_combine_others_are_pointed_out(pets, load):
    labels = ("scab", "rust", "scab rust", "scab")
    rows = [(name, label) for (name, _), label in zip(ROWS, labels, strict=True)]
    write_table(pets / "labels.csv", rows)
    assert any("1 class combines others, such as 'scab rust'" in note for note in load(pets).notes)


@pytest.mark.parametrize("column", ["data set", "Usage", "subset"])
def test_column_of_split_names_is_the_split(pets, column, load):
    rows = [(*row, split) for split in ("Training", "test") for row in ROWS]
    write_table(pets / "labels.csv", rows, header=("image", "label", column))
    assert len(load(pets).test) == 4


def test_column_called_dataset_with_other_values_is_not_the_split(pets, load):
    write_table(
        pets / "labels.csv", [(*row, "vidir") for row in ROWS], header=("image", "label", "dataset")
    )
    assert len(load(pets).train) == 4


@pytest.mark.parametrize("prefix", ["/home/bob/pets/images/", "../input/pets/", "https://a.b/c/"])
def test_folders_of_another_machine_are_left_out(pets, prefix, load):
    write_table(pets / "labels.csv", [(f"{prefix}{name}", label) for name, label in ROWS])
    assert load(pets).train.labels.tolist() == [0, 1, 0, 1]


def test_image_of_another_folder_is_not_taken_for_a_missing_one(pets, load_error):
    (pets / "images").rename(pets / "dogs")
    rows = [(f"/x/{label}s/{name}", label) for name, label in ROWS]
    write_table(pets / "labels.csv", rows)
    assert "2 of 4 images are not found in" in load_error(write_table(pets / "labels.csv", rows))


def test_upper_and_lower_case_of_names_may_differ(pets, load):
    write_table(pets / "labels.csv", [(name.upper(), label) for name, label in ROWS])
    assert len(load(pets).train) == 4


def test_likely_file_is_named_for_a_number_without_zeros(pets, save_image, load_error):
    save_image(pets / "images" / "007.png")
    write_table(pets / "labels.csv", [("7", "cat"), *ROWS])
    assert "is images/007.png meant by 7? Correct the paths" in load_error(pets)


def test_folders_of_splits_beside_a_table_are_no_classes(tmp_path, save_image, load):
    for index in range(4):
        save_image(tmp_path / "train_images" / f"{index}.png", (index, 0, 0))
        save_image(tmp_path / "test_images" / f"t{index}.png")
    rows = [(f"{index}.png", "ab"[index % 2]) for index in range(4)]
    write_table(tmp_path / "train.csv", rows)
    write_table(tmp_path / "sample_submission.csv", [("t0.png", "a")])
    data = load(tmp_path)
    assert data.classes == ("a", "b")
    assert len(data.train) == 4


def test_table_inside_a_folder_of_one_folder_is_read(tmp_path, pets, load):
    write_table(pets / "labels.csv")
    (tmp_path / "outer").mkdir()
    pets.rename(tmp_path / "outer" / "pets")
    assert load(tmp_path / "outer").classes == ("cat", "dog")


def test_only_table_that_names_the_images_is_read(pets, load):
    write_table(pets / "labels.csv")
    write_table(pets / "breeds.csv", [("1", "pug")], header=("id", "name"))
    assert "the labels are read from labels.csv" in load(pets).notes


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("cat0.png,cat\ndog0.png,dog\n", "(cat0.png, cat) is not a header; write one"),
        ("label,pixel0,pixel1\n0,7,7\n", "has pixels in its columns and no image files"),
        ("image,label\n", "has no training images"),
    ],
)
def test_table_without_paths_is_refused_with_what_to_write(pets, text, advice, load_error):
    (pets / "labels.csv").write_text(text)
    assert advice in load_error(pets)


def test_table_of_another_encoding_is_refused(pets, load_error):
    (pets / "labels.csv").write_bytes("image,label\ncat0.png,Kätzchen\n".encode("latin-1"))
    assert "save it in UTF-8" in load_error(pets)
