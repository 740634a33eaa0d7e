"""Tests of Parquet files in the layout of Hugging Face."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

CIFAR10 = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10"
RED, BLUE = (220, 20, 20), (20, 20, 220)


def encoded(color: object = RED, *, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(
    path: Path,
    *,
    labels: object,
    images: list | None = None,
    names: tuple[str, ...] | None = ("cat", "dog"),
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels)
    images = [encoded()] * len(labels) if images is None else images
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": content, "path": None} for content in images], kind)
    table = pa.table({"image": rows, "label": labels})
    if names:
        features = {
            "image": {"_type": "Image"},
            "label": {"_type": "ClassLabel", "names": list(names)},
        }
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pq.write_table(table, path)
    return path


def test_class_names_are_read_from_the_metadata(tmp_path, load):
    path = write_parquet(
        tmp_path / "x.parquet",
        labels=[1, 0, 1],
        images=[encoded(BLUE), encoded(RED), encoded(BLUE)],
    )
    data = load(path)
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0, 1]
    assert data.train.pixels[:, 0, 0].tolist() == [list(BLUE), list(RED), list(BLUE)]
    assert data.test is None


def test_labels_are_the_class_names_without_metadata(tmp_path, load):
    assert load(write_parquet(tmp_path / "x.parquet", labels=[0, 2, 1], names=None)).classes == (
        "0",
        "1",
        "2",
    )


def test_binary_image_column_is_read(tmp_path, load):
    pq.write_table(
        pa.table({"image": [encoded(RED), encoded(BLUE)], "label": [0, 1]}), tmp_path / "x.parquet"
    )
    assert load(tmp_path / "x.parquet").train.pixels[:, 0, 0].tolist() == [list(RED), list(BLUE)]


@pytest.mark.parametrize(
    "names",
    [
        ("train-0.parquet", "train-1.parquet", "test-0.parquet"),
        ("data/train-0.parquet", "data/train-1.parquet", "data/test-0.parquet"),
        ("train/0.parquet", "train/1.parquet", "test/0.parquet"),
        ("train-0.parquet", "train-1.parquet", "validation-0.parquet"),
    ],
)
def test_parquet_files_of_a_folder_are_assigned_to_splits_by_their_names(tmp_path, names, load):
    for name, labels in zip(names, ([0, 1], [0, 1, 1], [0, 1]), strict=True):
        write_parquet(tmp_path / name, labels=labels)
    data = load(tmp_path)
    assert data.train.labels.tolist() == [0, 1, 0, 1, 1]
    assert data.test.labels.tolist() == [0, 1]


def test_parquet_files_without_a_split_in_their_names_are_for_training(tmp_path, load):
    write_parquet(tmp_path / "0.parquet", labels=[0, 1])
    write_parquet(tmp_path / "1.parquet", labels=[0, 1])
    assert len(load(tmp_path).train) == 4


def test_bad_image_is_listed_with_its_row(tmp_path, load_error):
    path = write_parquet(
        tmp_path / "x.parquet", labels=[0, 1, 0, 1], images=[encoded(), encoded(), b"", None]
    )
    message = load_error(path)
    assert "x.parquet row 2 is empty" in message
    assert "x.parquet row 3 has no bytes" in message


def _table(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_missing_column_is_refused_with_the_existing_ones(tmp_path, load_error):
    assert "has no column 'image', only pixels, label" in load_error(
        _table(tmp_path / "x.parquet", pixels=[1], label=[0])
    )
    message = load_error(_table(tmp_path / "y.parquet", image=[b""], fine_label=[0]))
    assert "has no column 'label', only image, fine_label" in message
    assert "name the column of the labels with data.label_column" in message


def test_images_of_another_type_are_refused(tmp_path, load_error):
    assert "neither struct{bytes, path} nor binary" in load_error(
        _table(tmp_path / "x.parquet", image=["a.png"], label=[0])
    )


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        pytest.param(pa.array([0.5, 1.0]), "row 0 is 0.5, a number with a fraction", id="fraction"),
        pytest.param(pa.array(["cat", "eel"]), "'eel' is not one of the 2 classes", id="text"),
        pytest.param(pa.array([0, None]), "row 1 has no label (1 in total)", id="missing"),
        pytest.param(pa.array([0, 2]), "row 1 is 2, outside 0 to 1", id="too large"),
        pytest.param(pa.array([0, -1]), "-1 marks an image without a label", id="unlabeled"),
    ],
)
def test_unsuitable_labels_are_refused(tmp_path, labels, reason, load_error):
    assert reason in load_error(write_parquet(tmp_path / "x.parquet", labels=labels))


def test_text_labels_may_be_the_class_names_of_the_metadata(tmp_path, load):
    path = write_parquet(tmp_path / "x.parquet", labels=["dog", "cat"])
    assert load(path).train.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([5, 1, 10], ("1", "5", "10")), (["b", "a", "10"], ("10", "a", "b"))],
)
def test_classes_are_the_labels_that_occur(tmp_path, labels, classes, load):
    data = load(write_parquet(tmp_path / "x.parquet", labels=labels, names=None))
    assert data.classes == classes
    assert [classes[label] for label in data.train.labels] == [str(label) for label in labels]


def test_labels_from_one_to_the_number_of_class_names_are_one_based(tmp_path, load):
    data = load(write_parquet(tmp_path / "x.parquet", labels=[1, 2, 2]))
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 1, 1]


def test_named_columns_are_read(tmp_path, load, load_error):
    table = pa.table(
        {
            "picture": [encoded(RED), encoded(BLUE)],
            "coarse_label": [0, 0],
            "fine_label": ["rose", "tulip"],
            "label": [0, 1],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    data = load(tmp_path / "x.parquet", image_column="picture", label_column="fine_label")
    assert data.classes == ("rose", "tulip")
    assert "has no column 'fine', only picture, coarse_label" in load_error(
        tmp_path / "x.parquet", image_column="picture", label_column="fine"
    )


@pytest.mark.parametrize("name", ["validation-0", "val", "valid_0", "dev-0", "eval-0"])
def test_validation_files_are_the_validation_split(tmp_path, name, load):
    for split, labels in (("train", [0, 1, 1]), (name, [0, 1]), ("test-0", [1, 0])):
        write_parquet(tmp_path / f"{split}.parquet", labels=labels)
    data = load(tmp_path)
    assert data.validation.labels.tolist() == [0, 1]
    assert data.test.labels.tolist() == [1, 0]


@pytest.mark.parametrize("label", [-1, None])
def test_validation_files_are_the_test_split_if_the_test_files_have_no_labels(
    tmp_path, label, load
):
    write_parquet(tmp_path / "train.parquet", labels=[0, 1])
    write_parquet(tmp_path / "val.parquet", labels=[0, 1, 1])
    write_parquet(tmp_path / "test.parquet", labels=pa.array([label] * 2, pa.int64()))
    data = load(tmp_path)
    assert (len(data.test), data.validation) == (3, None)
    assert data.notes[0] == "the test split is not used, because its 2 images have no labels"
    assert "so the split val.parquet is the test split" in data.notes[1]


def test_files_with_different_classes_are_refused(tmp_path, load_error):
    write_parquet(tmp_path / "train.parquet", labels=[0, 1])
    write_parquet(tmp_path / "test.parquet", labels=[0, 1], names=("dog", "cat"))
    assert "test.parquet has other classes than " in load_error(tmp_path)


def test_test_split_of_one_class_is_refused(tmp_path, load_error):
    write_parquet(tmp_path / "train.parquet", labels=[0, 1])
    write_parquet(tmp_path / "test.parquet", labels=[0, 0])
    assert "the test split has images of class 'cat' only" in load_error(tmp_path)


def test_folder_without_training_files_is_refused(tmp_path, load_error):
    write_parquet(tmp_path / "test.parquet", labels=[0, 1])
    assert "no train*.parquet" in load_error(tmp_path)


def test_empty_parquet_file_is_refused(tmp_path, load_error):
    assert "has no training images" in load_error(
        write_parquet(tmp_path / "x.parquet", labels=pa.array([], pa.int64()))
    )


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-40], lambda _: b"", lambda _: b"<html></html>" * 9]
)
def test_damaged_parquet_file_is_refused(tmp_path, damage, load_error):
    path = write_parquet(tmp_path / "x.parquet", labels=[0, 1])
    path.write_bytes(damage(path.read_bytes()))
    message = load_error(path)
    assert "is not a valid Parquet file" in message or "is an HTML page" in message


def test_parquet_file_with_damaged_pages_is_refused(tmp_path, load_error):
    path = write_parquet(
        tmp_path / "x.parquet", labels=[0, 1] * 50, images=[encoded((i, i, i)) for i in range(100)]
    )
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(bytes(content))
    assert load_error(path)


def test_missing_pyarrow_is_refused_with_the_extra_that_installs_it(
    tmp_path, monkeypatch, load_error
):
    path = write_parquet(tmp_path / "x.parquet", labels=[0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install 'phinas[parquet]'" in load_error(path)


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.is_dir(), reason=f"CIFAR-10 is not at {CIFAR10}")
def test_all_images_of_cifar10_are_read(load):
    data = load(CIFAR10)
    assert data.train.pixels.shape == (50000, 32, 32, 3)
    assert data.test.pixels.shape == (10000, 32, 32, 3)
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert data.classes[:2] == ("airplane", "automobile")
    # the means in the README of the data set, for the first 3,000 rows
    assert (data.train.pixels[:3000] / 255).mean(axis=(0, 1, 2)).round(4).tolist() == [
        0.4941,
        0.4821,
        0.4446,
    ]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        pytest.param([0.0, 1.0], ("0", "1"), id="whole floats"),
        pytest.param([False, True], ("False", "True"), id="truth values"),
        pytest.param([["a"], ["b"]], ("a", "b"), id="lists of one"),
    ],
)
def test_labels_of_other_types_are_read(tmp_path, labels, classes, load):
    path = write_parquet(tmp_path / "x.parquet", labels=labels, names=None)
    assert load(path).classes == classes


def test_images_with_several_labels_are_refused(tmp_path, load_error):
    path = write_parquet(tmp_path / "x.parquet", labels=[["a"], ["a", "b"]], names=None)
    assert "row 1 has 2 labels, and each image needs exactly one" in load_error(path)


def test_only_column_with_class_names_is_the_label(tmp_path, load):
    features = {"species": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    table = pa.table({"photo": [encoded(), encoded()], "species": [0, 1], "age": [3, 4]})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "x.parquet")
    assert load(tmp_path / "x.parquet").classes == ("cat", "dog")


def test_folders_of_two_configurations_are_refused_with_one_to_name(tmp_path, load_error):
    for name, classes in (("full", ("cat", "dog")), ("small", ("a", "b"))):
        write_parquet(tmp_path / name / "train.parquet", labels=[0, 1], names=classes)
    assert f"such as {tmp_path}/full, as data.source" in load_error(tmp_path)
