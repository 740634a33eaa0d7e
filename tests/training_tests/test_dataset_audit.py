"""Tests of `phinas audit`: counts, problems, hints and files of a data set."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import phinas
from phinas.cli import cli
from phinas.description.dataset_problems import MIN_CLASS_IMAGES
from phinas.errors import run_command
from phinas.experiment.artifacts.manifest import DuplicateCounts
from phinas.experiment.errors import InputError

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
def write_folders(tmp_path):
    """Function that writes folders of random images; returns the folder of the classes."""

    def make(name="pets", *, count=40, size=(40, 40), classes=("cat", "dog"), template="{}.png"):
        for index, label in enumerate(classes):
            folder = tmp_path / name / label
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                generator = np.random.default_rng([index, number, len(name)])
                pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / template.format(number))
        return tmp_path / name

    return make


def audit(path, **options):
    return phinas.audit(path, **{"quiet": True, "near_duplicates": False} | options)


def files_of(result, problem):
    """The files of a problem: split and name."""
    return [(row.split, row.file) for row in result.dataset.files if row.problem == problem]


# --- counts -------------------------------------------------------------------------------------


def test_images_are_counted_by_class_and_split(write):
    result = audit(write())
    dataset = result.dataset
    assert dataset.images == {"train": 104, "validation": 26, "test": 30}
    assert [row.train + row.validation for row in dataset.classes] == list(SIZES.values())
    assert {row.test for row in dataset.classes} == {10}
    assert dataset.imbalance == pytest.approx(2, abs=0.1)
    assert (dataset.image_size, dataset.channels) == (8, 3)
    assert result.problems == result.hints == dataset.files == ()


def test_small_classes_and_imbalance_are_reported(write):
    result = audit(write(sizes={"a": 300, "b": 12, "c": 18}))
    assert result.dataset.imbalance > 20
    small_classes, imbalance = result.problems
    assert small_classes.startswith(f"fewer than {MIN_CLASS_IMAGES} training images in 1 (")
    assert imbalance.startswith(
        f"the largest class has {result.dataset.imbalance:.0f} times as many images as the smallest"
    )


def test_detectable_difference_is_inverse_to_the_root_of_the_number_of_test_images(write):
    small = audit(write(test=10)).dataset.min_detectable_difference
    large = audit(write(test=1000)).dataset.min_detectable_difference
    assert small / large == pytest.approx(10, rel=0.1)


# --- copies -------------------------------------------------------------------------------------


def test_leaks_between_the_splits_of_the_source_come_first_with_denominators_and_files(write):
    def leak(arrays):
        arrays["x_test"][:3] = arrays["x_train"][:3]
        arrays["x_train"][4] = arrays["x_train"][5]

    result = audit(write(leak))
    counts = result.dataset.duplicates
    assert counts == DuplicateCounts(test_in_train=3, repeats=1)
    assert result.problems[0] == (
        "3 of 30 test images (10%) are also in train, so test scores are too high; remove them "
        "from train with --drop-duplicates (data.drop_duplicates: true)"
    )
    assert "1 of 160 images repeats another image of the same split" in result.problems[-1]
    leaks = files_of(result, "leak")
    assert {name for split, name in leaks if split == "test"} == {
        f"test row {index}" for index in range(3)
    }
    assert len(leaks) == 6
    assert {name for _, name in files_of(result, "copy")} == {"train row 4", "train row 5"}
    sets = Counter(row.set for row in result.dataset.files if row.problem == "leak")
    assert sets == {1: 2, 2: 2, 3: 2}


def test_image_with_two_labels_is_reported_with_its_classes(write):
    def mislabel(arrays):
        # the two images have the first and the second class
        arrays["x_test"][0] = arrays["x_test"][15]

    result = audit(write(mislabel))
    assert result.dataset.label_conflicts == (("0", "1"),)
    assert result.dataset.duplicates == DuplicateCounts(repeats=1, with_other_label=2)
    assert result.problems[0] == (
        "2 of 160 images have a copy with another label: 0 and 1 (1); correct the labels"
    )
    assert files_of(result, "label_conflict") == [("test", "test row 0"), ("test", "test row 15")]


def test_copies_that_are_left_out_are_counted_and_are_no_problem(write):
    def leak(arrays):
        arrays["x_test"][:3] = arrays["x_train"][:3]

    result = audit(write(leak), drop_duplicates=True)
    assert result.dataset.duplicates == DuplicateCounts(dropped=3)
    assert sum(result.dataset.images.values()) == 157
    assert result.problems == ()


def test_copies_in_class_folders_do_not_cross_the_splits_of_phinas(write_folders):
    root = write_folders(count=40)
    for number in range(15):
        shutil.copy(root / "cat" / f"{number}.png", root / "cat" / f"copy{number}.png")
    result = audit(root)
    assert result.dataset.duplicates == DuplicateCounts(repeats=15)
    assert len(files_of(result, "copy")) == 30
    assert files_of(result, "leak") == []


# --- files --------------------------------------------------------------------------------------


def test_files_with_surplus_bytes_are_named(write_folders):
    root = write_folders()
    path = root / "dog" / "3.png"
    path.write_bytes(path.read_bytes() + b"surplus")
    result = audit(root)
    assert "1 of 80 images has bytes after the end of the image" in result.problems[0]
    [row] = result.dataset.files
    assert (row.problem, row.file, row.label) == ("surplus_bytes", "dog/3.png", "dog")
    assert row.note == "has 7 bytes after the end of the image"


def test_ppm_files_with_changed_line_ends_are_refused_or_named(write_folders):
    root = write_folders(template="{}.ppm")
    for number in range(3):
        path = root / "cat" / f"{number}.ppm"
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(InputError, match=r"3 of 80 .* used: cat/0\.ppm has line ends"):
        audit(root)
    result = audit(root, skip_bad_images=True)
    assert files_of(result, "unreadable") == [("", f"cat/{number}.ppm") for number in range(3)]
    assert "3 of 80 images are unreadable and skipped: cat/0.ppm has" in result.problems[-1]


def test_files_after_a_skipped_image_keep_their_names(write_folders):
    root = write_folders()
    (root / "cat" / "0.png").write_bytes(b"")
    path = root / "dog" / "3.png"
    path.write_bytes(path.read_bytes() + b"surplus")
    result = audit(root, skip_bad_images=True)
    assert [name for _, name in files_of(result, "surplus_bytes")] == ["dog/3.png"]


def test_images_that_are_much_smaller_than_the_others_are_a_problem(write_folders):
    root = write_folders(count=40)
    write_folders(count=3, size=(12, 9), template="thumbnail{}.png")
    result = audit(root)
    assert result.dataset.sizes.smallest == 9
    assert (
        "6 of 86 images are much smaller than the others (from 9 px, the others have 40 px)"
        in result.problems[0]
    )
    assert len(files_of(result, "much_smaller")) == 6


def test_thumbnails_are_found_even_if_there_is_one_for_each_image(write_folders):
    root = write_folders(count=30)
    write_folders(count=30, size=(8, 8), template="thumbnail{}.png")
    assert audit(root).dataset.sizes.much_smaller == 60


def test_sizes_that_vary_by_a_factor_of_two_are_no_problem(write_folders):
    root = write_folders(count=30, size=(30, 30))
    write_folders(count=30, size=(60, 60), template="large{}.png")
    result = audit(root)
    assert (result.dataset.sizes.much_smaller, result.problems) == (0, ())


@pytest.mark.parametrize("size", [(120, 40), (30, 90)])
def test_images_that_the_crop_reduces_much_are_a_problem(write_folders, size):
    root = write_folders(size=size)
    result = audit(root)
    assert "the center crop removes 40% or more of 80 of 80 images (67%" in result.problems[0]
    assert "--resize-mode squash or letterbox (data.resize_mode)" in result.problems[0]
    assert len(files_of(result, "much_cropped")) == 80
    for mode in ("squash", "letterbox"):
        other = audit(root, settings={"data.resize_mode": mode})
        assert (other.problems, other.dataset.files) == ((), ())


def test_photos_of_three_to_two_are_no_problem(write_folders):
    assert audit(write_folders(size=(60, 40))).problems == ()


# --- groups -------------------------------------------------------------------------------------


def test_names_of_frames_suggest_a_group_pattern(write_folders):
    root = write_folders(count=6, template="00000_{}.png")
    for track in range(1, 5):
        write_folders(f"other{track * 'x'}", count=6, template=f"0000{track}_{{}}.png")
        shutil.copytree(root.parent / f"other{track * 'x'}", root, dirs_exist_ok=True)
    result = audit(root)
    pattern = result.dataset.suggested_group_by
    assert f"keep them in one split with --group-by '{pattern}'" in result.hints[0]
    grouped = audit(root, group_by=pattern)
    assert sum(grouped.dataset.groups.values()) == 10
    assert (grouped.hints, grouped.dataset.mixed_groups) == ((), ())


def test_pattern_that_merges_groups_of_different_classes_is_a_problem(write_folders):
    root = write_folders(count=6, template="00000_{}.png")
    for track in range(1, 5):
        write_folders(f"other{track * 'x'}", count=6, template=f"0000{track}_{{}}.png")
        shutil.copytree(root.parent / f"other{track * 'x'}", root, dirs_exist_ok=True)
    result = audit(root, group_by=r"([^/]+)_\d+\.png$")
    assert [group.name for group in result.dataset.mixed_groups] == [
        f"{track:05d}" for track in range(5)
    ]
    assert result.problems[0].startswith(
        "5 groups have images of several classes (00000: cat, dog; 00001: cat, dog; ...)"
    )
    assert r"--group-by '([^/]+/[^/]+)_\d+\.png$'" in result.problems[0]


def test_column_with_groups_of_several_classes_is_no_problem(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=pixels, y=np.arange(60) % 2, patient=np.arange(60) // 4)
    assert audit(tmp_path / "x.npz", group_by="patient").problems == ()


# --- near-duplicates ----------------------------------------------------------------------------


def write_frames(root, *, items, frames):
    """Images of rectangles; the frames of an item differ by a little noise."""
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for item in range(items):
            generator = np.random.default_rng([item, label == "dog"])
            pixels = np.full((40, 40, 3), 128, np.int64)
            for _ in range(20):
                top, left = generator.integers(0, 30, 2)
                pixels[top : top + 8, left : left + 9] = generator.integers(20, 236, 3)
            for frame in range(frames):
                noise = np.random.default_rng([item, frame]).integers(-2, 3, pixels.shape)
                image = Image.fromarray((pixels + noise).astype(np.uint8))
                image.save(root / label / f"{item:03d}_{frame:03d}.png")
    return root


def test_near_duplicates_are_a_hint_with_a_group_pattern(tmp_path):
    root = write_frames(tmp_path / "frames", items=12, frames=3)
    result = audit(root, near_duplicates=True)
    near = result.dataset.near_duplicates
    assert near.images == 72
    assert near.sets == 24
    pattern = result.dataset.suggested_group_by
    assert result.hints[0].startswith(
        f"{near.test_like_train} of {result.dataset.images['test']} test images and "
        f"{near.validation_like_train} of {result.dataset.images['validation']} validation images "
        "look almost like a training image"
    )
    assert f"--group-by '{pattern}'" in result.hints[0]
    assert len(files_of(result, "near_duplicate")) == 72
    grouped = audit(root, near_duplicates=True, group_by=pattern).dataset.near_duplicates
    assert grouped.images == 72
    assert grouped.test_like_train == grouped.validation_like_train == 0


def test_copies_are_no_near_duplicates(tmp_path):
    root = write_frames(tmp_path / "frames", items=20, frames=1)
    shutil.copy(root / "cat" / "000_000.png", root / "cat" / "copy_000.png")
    assert audit(root, near_duplicates=True).dataset.near_duplicates.images == 0


def test_dark_images_are_a_hint_with_their_files(tmp_path):
    root = write_frames(tmp_path / "frames", items=20, frames=1)
    path = root / "dog" / "003_000.png"
    with Image.open(path) as image:
        image.point(lambda value: value // 20).save(path)
    result = audit(root, near_duplicates=True)
    assert result.dataset.quality["dark"] == 1
    assert "of 40 images, 1 dark" in result.hints[0]
    assert [name for _, name in files_of(result, "dark")] == ["dog/003_000.png"]


def test_images_below_32_px_are_not_examined_and_this_is_said(write, capsys):
    assert run_command(cli, ["audit", str(write())]) == 0
    assert "not looked for (off, or images below 32 px): near" in capsys.readouterr().out


# --- the command --------------------------------------------------------------------------------


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
    assert "problem: 1 of 30 test images (3%) is also in train" in output
    assert "files that --csv FILE and --json list: leak (2)" in output
    assert run_command(cli, ["audit", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["duplicates"]["test_in_train"] == 1
    assert [row["split"] for row in result["files"]] == ["validation", "test"]
    assert result["spaces"]["tiny"] == {"resolution": 12, "fits": False, "usable": True}
    assert run_command(cli, ["audit", str(path), "--set", "data.image_size=16"]) == 0
    output = capsys.readouterr().out
    assert "search spaces for these images (--space): tiny (12 px)" in output
    assert "used at 16 px, or at their own resolution with --upsample: small_images (32 " in output
    assert "only with --upsample: accel_nasbench (224 px), " in output
    assert run_command(cli, ["audit", str(path), "--set", "data.image_size=12"]) == 0
    output = capsys.readouterr().out
    assert "leave no room to scale the resolution; --resolution 8 or --upsample" in output


def test_csv_file_has_a_row_for_each_file_with_a_problem(write, tmp_path, capsys):
    def leak(arrays):
        arrays["x_test"][0] = arrays["x_train"][0]

    table = tmp_path / "problems.csv"
    assert run_command(cli, ["audit", str(write(leak)), "--csv", str(table), "--json"]) == 0
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    result = json.loads(capsys.readouterr().out)
    assert [{**row, "set": int(row["set"])} for row in rows] == result["files"]


def test_csv_file_has_no_formulas(tmp_path, capsys):
    for name in ("=1+1", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(4):
            pixels = np.full((16, 16), 50 * index + len(name), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{index}.png")
        (tmp_path / "pets" / name / "x.png").write_bytes(b"")
    table = tmp_path / "problems.csv"
    arguments = [str(tmp_path / "pets"), "--skip-bad-images", "--csv", str(table)]
    assert run_command(cli, ["audit", *arguments]) == 0
    assert ",'=1+1/x.png," in table.read_text()
    assert ",=" not in table.read_text()


@pytest.mark.parametrize("name", [".", "missing/x.csv"])
def test_csv_file_that_cannot_be_written_is_refused_before_the_images_are_read(
    name, tmp_path, capsys
):
    arguments = ["audit", str(tmp_path / "nowhere"), "--csv", str(tmp_path / name)]
    assert run_command(cli, arguments) == 2
    assert "--csv: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_progress_is_on_standard_error_and_can_be_off(write_folders, capsys):
    root = str(write_folders(count=8))
    assert run_command(cli, ["audit", root]) == 0
    errors = capsys.readouterr().err
    assert all(f"{stage}: done in" in errors for stage in ("files", "images", "near-duplicates"))
    assert run_command(cli, ["-q", "audit", root]) == 0
    assert capsys.readouterr().err == ""


def test_missing_source_is_refused(tmp_path, capsys):
    assert run_command(cli, ["audit", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_python_function_returns_what_the_command_prints(write, capsys):
    path = write()
    result = phinas.audit(path, seed=3, settings={"data.validation_fraction": 0.5}, quiet=True)
    assert result.dataset.images == {"train": 65, "validation": 65, "test": 30}
    arguments = ["--seed", "3", "--set", "data.validation_fraction=0.5"]
    assert run_command(cli, ["audit", str(path), "--json", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == result.to_dict()


def test_error_about_an_argument_has_its_name(write):
    with pytest.raises(InputError, match=r"^seed: -1"):
        phinas.audit(write(), seed=-1)


def test_number_of_leaks_is_that_of_the_prepared_images_of_a_run(write, tmp_path):
    from phinas.experiment.schema.config import DataSection
    from phinas.training.data.prepared_dataset import prepare

    def leak(arrays):
        arrays["x_test"][:7] = arrays["x_train"][:7]

    path = write(leak)
    data = prepare(DataSection(source=str(path)), seed=0, directory=tmp_path / "data")
    assert data.duplicates == data.describe().duplicates == audit(path).dataset.duplicates
