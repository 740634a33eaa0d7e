"""Tests of data sets of the Hugging Face Hub.

Folders on disk replace data sets of the Hub, since `datasets` reads both with the same call.
Nothing is downloaded.
"""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import load_images

pytest.importorskip("datasets", reason="the extra `hf` is not installed")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write_images(folder: Path, *, split: str, count: int) -> None:
    for value, name in enumerate(("cat", "dog")):
        class_folder = folder / split / name
        class_folder.mkdir(parents=True)
        for index in range(count):
            pixels = np.full((10, 10, 3), 100 * value + index, np.uint8)
            Image.fromarray(pixels).save(class_folder / f"{index}.png")


def test_splits_and_class_names_are_read(tmp_path: Path) -> None:
    write_images(tmp_path / "pets", split="train", count=4)
    write_images(tmp_path / "pets", split="test", count=2)
    data = load_images(DataSection(source=f"hf:{tmp_path / 'pets'}"))
    assert data.classes == ("cat", "dog")
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (8, 4)
    for images in (data.train, data.test):
        assert (images.pixels[:, 0, 0, 0] // 100 == images.labels).all()


def test_missing_data_set_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hf:.*/gone could not be downloaded .*check the name"):
        load_images(DataSection(source=f"hf:{tmp_path / 'gone'}"))


def test_data_set_without_images_is_refused_with_its_columns(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "train.csv").write_text("size,label\n1,0\n2,1\n")
    with pytest.raises(InputError, match="no column 'image', only size, label"):
        load_images(DataSection(source=f"hf:{tmp_path / 'table'}"))


@pytest.mark.parametrize(
    ("label", "reason"),
    [(-1, "row 2 is -1, outside 0 to 1"), (None, r"row 2 has no label \(1 in total\)")],
)
def test_image_without_a_label_is_refused_with_its_row(
    tmp_path: Path, label: int | None, reason: str
) -> None:
    names = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": names}
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    rows = pa.table(
        {
            "image": [{"bytes": buffer.getvalue(), "path": None}] * 3,
            "label": pa.array([0, 1, label], pa.int64()),
        }
    )
    (tmp_path / "pets").mkdir()
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(rows.replace_schema_metadata(metadata), tmp_path / "pets" / "train.parquet")
    with pytest.raises(InputError, match=f"hf:.*/pets: label: {reason}"):
        load_images(DataSection(source=f"hf:{tmp_path / 'pets'}"))


def write_parquet(path: Path, **columns: object) -> None:
    """Write rows of different images; the other columns are given."""
    count = len(next(iter(columns.values())))  # type: ignore[arg-type]
    images = []
    for index in range(count):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (index, 0, 0)).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    features = {"image": {"_type": "Image"}}
    table = pa.table({"image": images, **columns}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_text_labels_are_the_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "pets" / "train.parquet", label=["dog", "cat", "dog"])
    data = load_images(DataSection(source=f"hf:{tmp_path / 'pets'}"))
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0, 1]


def test_named_column_is_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "pets" / "train.parquet", coarse_label=[0, 0, 0], fine_label=[3, 1, 2])
    source = f"hf:{tmp_path / 'pets'}"
    assert load_images(DataSection(source=source, label_column="fine_label")).classes == (
        "1",
        "2",
        "3",
    )
    with pytest.raises(InputError, match=r"name the column of the labels with data\.label_column"):
        load_images(DataSection(source=source))


def test_splits_without_labels_are_not_used(tmp_path: Path) -> None:
    write_parquet(tmp_path / "pets" / "train.parquet", label=[0, 1, 0, 1])
    write_parquet(tmp_path / "pets" / "validation.parquet", label=[1, 0])
    write_parquet(tmp_path / "pets" / "test.parquet", label=[-1, -1, -1])
    data = load_images(DataSection(source=f"hf:{tmp_path / 'pets'}"))
    assert data.test is not None
    assert data.test.labels.tolist() == [1, 0]
    assert data.validation is None
    assert data.notes[0] == "the test split is not used, because its 3 images have no labels"
    assert "so the split validation is the test split" in data.notes[1]
