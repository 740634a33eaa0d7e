"""Official splits of a data source, and system folders, whose files are not images of the user."""

import io
import json

import numpy as np
import pytest
from PIL import Image

VALIDATION_NAMES = ("val", "valid", "validation", "dev", "eval")
SYSTEM_FOLDERS = ("@eaDir", ".thumbnails", "__MACOSX", "$RECYCLE.BIN", "lost+found", ".git")
OFFICIAL_SPLITS = {"train": 20, "validation": 6, "test": 4}


@pytest.fixture
def image_counts(run_phinas):
    """The number of images in each split of a data source, as `phinas audit` reports it."""

    def count(source):
        result = run_phinas("audit", source, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)["images"]

    return count


@pytest.fixture
def write_parquet(random_image):
    """Write a Parquet file of 2 * count images, with alternating class indices or one label."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    num_written = 0

    def write(path, count, *, label="class index"):
        nonlocal num_written
        contents = []
        for _ in range(2 * count):
            num_written += 1
            buffer = io.BytesIO()
            Image.fromarray(random_image(num_written)).save(buffer, "PNG")
            contents.append(buffer.getvalue())
        labels = [0, 1] * count if label == "class index" else [label] * (2 * count)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = arrow.table({"image": contents, "label": arrow.array(labels, arrow.int64())})
        parquet.write_table(table, path)

    return write


def write_arrays(path, random_image, **counts):
    """Write an .npz file. `counts` are the images per class of each array, for two classes."""
    seed = 0
    arrays = {}
    for name, count in counts.items():
        seeds = range(seed, seed := seed + 2 * count)
        arrays[name] = np.stack([random_image(each) for each in seeds])
        label_name = name.replace("images", "labels").replace("x_", "y_")
        arrays[label_name] = np.tile(np.arange(2), count)
    np.savez(path, **arrays)


# --- an official validation split ---------------------------------------------------------------


@pytest.mark.parametrize("name", VALIDATION_NAMES)
def test_official_validation_folder_is_used(name, tmp_path, write_class_folders, image_counts):
    write_class_folders(tmp_path / "data" / "train", 10)
    write_class_folders(tmp_path / "data" / name, 3)
    write_class_folders(tmp_path / "data" / "test", 2)
    assert image_counts(tmp_path / "data") == OFFICIAL_SPLITS


@pytest.mark.parametrize("name", VALIDATION_NAMES)
def test_official_validation_parquet_file_is_used(name, tmp_path, write_parquet, image_counts):
    write_parquet(tmp_path / "data" / "train-0.parquet", 10)
    write_parquet(tmp_path / "data" / f"{name}-0.parquet", 3)
    write_parquet(tmp_path / "data" / "test-0.parquet", 2)
    assert image_counts(tmp_path / "data") == OFFICIAL_SPLITS


@pytest.mark.parametrize(
    "names",
    [("x_train", "x_val", "x_test"), ("train_images", "val_images", "test_images")],
    ids=lambda names: names[1],
)
def test_official_validation_arrays_are_used(names, tmp_path, random_image, image_counts):
    counts = dict(zip(names, (10, 3, 2), strict=True))
    write_arrays(tmp_path / "data.npz", random_image, **counts)
    assert image_counts(tmp_path / "data.npz") == OFFICIAL_SPLITS


def test_official_validation_split_of_the_hub_is_used(
    tmp_path, monkeypatch, write_class_folders, image_counts
):
    datasets = pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    write_class_folders(tmp_path / "data" / "train", 10)
    write_class_folders(tmp_path / "data" / "validation", 3)
    write_class_folders(tmp_path / "data" / "test", 2)
    assert image_counts(f"hf:{tmp_path / 'data'}") == OFFICIAL_SPLITS


@pytest.mark.usefixtures("torchvision")
def test_official_validation_split_of_torchvision_is_used(
    tmp_path, write_class_folders, image_counts
):
    for split, count in (("train", 10), ("valid", 3), ("test", 2)):
        write_class_folders(tmp_path / "country211" / split, count)
    assert image_counts(f"torchvision:Country211:{tmp_path}") == OFFICIAL_SPLITS


def test_unreadable_validation_image_is_reported(tmp_path, write_class_folders, run_phinas):
    write_class_folders(tmp_path / "data" / "train", 10)
    write_class_folders(tmp_path / "data" / "val", 3)
    write_class_folders(tmp_path / "data" / "test", 2)
    (tmp_path / "data" / "val" / "cat" / "broken.png").write_bytes(b"not an image")
    result = run_phinas("audit", tmp_path / "data")
    assert result.exit_code == 2
    assert "broken.png" in result.stderr


def test_use_of_the_official_validation_split_is_reported(
    tmp_path, write_class_folders, run_phinas
):
    write_class_folders(tmp_path / "data" / "train", 10)
    write_class_folders(tmp_path / "data" / "dev", 3)
    write_class_folders(tmp_path / "data" / "test", 2)
    result = run_phinas("audit", tmp_path / "data")
    assert result.exit_code == 0, result.stderr
    assert "dev" in result.output


# --- a test split that is missing or has no labels ----------------------------------------------


@pytest.mark.parametrize(
    "name",
    VALIDATION_NAMES,
)
def test_validation_split_is_the_test_split_if_there_is_no_other(
    name, tmp_path, write_class_folders, image_counts
):
    write_class_folders(tmp_path / "data" / "train", 10)
    write_class_folders(tmp_path / "data" / name, 3)
    counts = image_counts(tmp_path / "data")
    assert counts["test"] == 6
    assert counts["validation"] > 0
    assert counts["train"] + counts["validation"] == 20


@pytest.fixture
def imagenet_layout(tmp_path, write_class_folders):
    """Train and val folders with class folders, and a flat test folder without labels."""
    root = write_class_folders(tmp_path / "data" / "train", 10).parent
    write_class_folders(root / "val", 3)
    write_class_folders(root, 5, classes=("test",))
    return root


def test_validation_folder_is_the_test_split_if_test_has_no_labels(imagenet_layout, image_counts):
    counts = image_counts(imagenet_layout)
    assert counts["test"] == 6
    assert counts["validation"] > 0
    assert counts["train"] + counts["validation"] == 20


def test_test_folder_without_labels_is_reported_in_one_line(imagenet_layout, run_phinas):
    result = run_phinas("audit", imagenet_layout)
    assert result.exit_code == 0, result.stderr
    assert any("test" in line and "label" in line for line in result.output.splitlines())


@pytest.mark.parametrize("label", [-1, None])
def test_validation_parquet_file_is_the_test_split_if_test_has_no_labels(
    label, tmp_path, write_parquet, image_counts
):
    write_parquet(tmp_path / "data" / "train-0.parquet", 10)
    write_parquet(tmp_path / "data" / "validation-0.parquet", 3)
    write_parquet(tmp_path / "data" / "test-0.parquet", 2, label=label)
    counts = image_counts(tmp_path / "data")
    assert counts["test"] == 6
    assert counts["train"] + counts["validation"] == 20


def test_validation_arrays_are_the_test_split_if_test_has_no_labels(
    tmp_path, random_image, image_counts
):
    write_arrays(tmp_path / "labeled.npz", random_image, x_train=10, x_val=3, x_test=2)
    with np.load(tmp_path / "labeled.npz") as arrays:
        unlabeled = {name: arrays[name] for name in arrays.files if name != "y_test"}
    np.savez(tmp_path / "data.npz", **unlabeled)
    counts = image_counts(tmp_path / "data.npz")
    assert counts["test"] == 6
    assert counts["train"] + counts["validation"] == 20


# --- system folders, of file systems and tools --------------------------------------------------


@pytest.mark.parametrize(
    "name",
    SYSTEM_FOLDERS,
)
def test_system_folder_inside_a_class_folder_is_skipped(
    name, tmp_path, write_class_folders, image_counts
):
    root = write_class_folders(tmp_path / "data", 10)
    write_class_folders(root / "cat", 5, classes=(name,), width=4, height=4)
    assert sum(image_counts(root).values()) == 20


@pytest.mark.parametrize(
    "name",
    SYSTEM_FOLDERS,
)
def test_system_folder_next_to_class_folders_is_skipped(
    name, tmp_path, write_class_folders, run_phinas
):
    root = write_class_folders(tmp_path / "data", 10)
    write_class_folders(root, 10, classes=(name,))
    result = run_phinas("audit", root, "--json")
    assert result.exit_code == 0, result.stderr
    assert [row["name"] for row in json.loads(result.stdout)["classes"]] == ["cat", "dog"]


@pytest.mark.parametrize("name", ["__MACOSX", "lost+found"])
def test_system_folder_without_images_is_skipped(name, tmp_path, write_class_folders, image_counts):
    root = write_class_folders(tmp_path / "data", 10)
    (root / name / "cat").mkdir(parents=True)
    (root / name / "cat" / "._image1.png").write_bytes(b"x")
    assert sum(image_counts(root).values()) == 20


def test_system_folder_next_to_the_class_folders_of_a_split_is_skipped(
    tmp_path, write_class_folders, image_counts
):
    write_class_folders(tmp_path / "data" / "train", 10)
    write_class_folders(tmp_path / "data" / "train", 10, classes=("@eaDir",))
    write_class_folders(tmp_path / "data" / "test", 2)
    assert sum(image_counts(tmp_path / "data").values()) == 24


def test_system_folder_next_to_split_folders_is_skipped(
    tmp_path, write_class_folders, image_counts
):
    write_class_folders(tmp_path / "data" / "train", 10)
    write_class_folders(tmp_path / "data" / "test", 2)
    write_class_folders(tmp_path / "data" / "__MACOSX" / "train", 2)
    assert sum(image_counts(tmp_path / "data").values()) == 24


@pytest.mark.parametrize("name", ["@eaDir", ".thumbnails"])
def test_files_in_system_folders_are_counted(name, tmp_path, write_class_folders, run_phinas):
    root = write_class_folders(tmp_path / "data", 10)
    write_class_folders(root / "cat", 37, classes=(name,), width=4, height=4)
    result = run_phinas("audit", root)
    assert result.exit_code == 0, result.stderr
    assert any("37" in line and "skipped" in line for line in result.output.splitlines())


def test_much_smaller_images_are_a_warning(tmp_path, write_class_folders, run_phinas):
    root = write_class_folders(tmp_path / "data", 40, width=64, height=64)
    write_class_folders(root, 4, width=6, height=6)
    result = run_phinas("audit", root)
    assert result.exit_code == 0, result.stderr
    assert "smaller" in result.output
