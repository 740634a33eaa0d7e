"""Tests of torchvision data sets, which the tests write in its layouts. Nothing is downloaded."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import ImageDataset, load_images

pytestmark = pytest.mark.usefixtures("torchvision")


def load(source: str, **options: object) -> ImageDataset:
    return load_images(DataSection.model_validate({"source": source} | options))


def load_error_of(source: str, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load(source, **options)
    return str(caught.value)


def write_mnist(root: Path) -> np.ndarray:
    """Write 20 training and 10 test images of each digit in MNIST's files.

    Returns the training pixels.
    """
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    pixels_of_split = {}
    for split, count in (("train", 20), ("t10k", 10)):
        pixels_of_split[split] = noise.integers(0, 256, (10 * count, 28, 28), dtype=np.uint8)
        labels = np.tile(np.arange(10, dtype=np.uint8), count)
        for name, array in (
            (f"{split}-images-idx3-ubyte", pixels_of_split[split]),
            (f"{split}-labels-idx1-ubyte", labels),
        ):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
    return pixels_of_split["train"]


def write_country211(root: Path) -> None:
    """Write two classes with splits in folders."""
    for split, count in (("train", 4), ("valid", 2), ("test", 3)):
        for value, name in enumerate(("AD", "BE")):
            (root / "country211" / split / name).mkdir(parents=True)
            for index in range(count):
                image = Image.new("RGB", (9, 9), (200 * value, 0, 0))
                image.save(root / "country211" / split / name / f"{index}.png")


def test_both_splits_of_a_class_with_a_train_parameter_are_read(tmp_path):
    pixels = write_mnist(tmp_path)
    data = load(f"torchvision:MNIST:{tmp_path}")
    assert data.name == "MNIST"
    assert data.classes[:2] == ("0 - zero", "1 - one")
    assert data.train.pixels.shape == (200, 28, 28, 3)
    assert np.array_equal(data.train.pixels[..., 0], pixels)
    assert data.train.labels.tolist() == list(range(10)) * 20
    assert len(data.test) == 100


def test_both_splits_of_a_class_with_a_split_parameter_are_read(tmp_path):
    write_country211(tmp_path)
    data = load(f"torchvision:Country211:{tmp_path}")
    assert data.classes == ("AD", "BE")
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 4, 6)
    assert (data.train.pixels[:, 0, 0, 0] == 200 * data.train.labels).all()


def test_all_images_of_a_class_without_splits_are_for_training(tmp_path):
    write_country211(tmp_path)
    data = load(f"torchvision:ImageFolder:{tmp_path / 'country211' / 'train'}")
    assert (len(data.train), data.test) == (8, None)


def test_labels_are_read_image_by_image_if_the_class_has_no_list_of_labels(
    torchvision, monkeypatch
):
    class SmallFakeData(torchvision.datasets.FakeData):
        def __init__(self):
            super().__init__(size=200, image_size=(3, 12, 12))

    monkeypatch.setattr(torchvision.datasets, "SmallFakeData", SmallFakeData, raising=False)
    data = load("torchvision:SmallFakeData", image_size=8)
    assert data.train.pixels.shape == (200, 8, 8, 3)
    assert len(data.classes) == 10
    assert data.train.labels.tolist() == [label for _, label in SmallFakeData()]


def test_images_are_stored_at_their_median_or_the_configured_size(tmp_path):
    write_country211(tmp_path)
    assert load(f"torchvision:Country211:{tmp_path}").train.pixels.shape[1] == 9
    assert load(f"torchvision:Country211:{tmp_path}", image_size=5).train.pixels.shape[1] == 5


def test_image_that_cannot_be_read_is_a_bad_image(tmp_path):
    write_country211(tmp_path)
    (tmp_path / "country211" / "train" / "AD" / "0.png").write_bytes(b"<html>")
    assert "1 of 18 images cannot be used: image 0 cannot be read: " in load_error_of(
        f"torchvision:Country211:{tmp_path}"
    )
    data = load(f"torchvision:Country211:{tmp_path}", skip_bad_images=True)
    assert data.train.labels.tolist() == [0] * 3 + [1] * 4


def test_labels_outside_the_classes_are_refused(tmp_path, torchvision, monkeypatch):
    class Unlabeled(torchvision.datasets.FakeData):
        targets = [0, 1, -1]

        def __len__(self):
            return 3

    monkeypatch.setattr(torchvision.datasets, "Unlabeled", Unlabeled, raising=False)
    assert "label: row 2 is -1, a negative label (1 in total)" in load_error_of(
        "torchvision:Unlabeled"
    )


@pytest.mark.parametrize(
    ("name", "closest"), [("cifar10", "CIFAR10"), ("Flowers", "Flowers102"), ("MINST", "MNIST")]
)
def test_misspelled_name_is_refused_with_the_closest_one(name, closest):
    assert f"torchvision has no data set {name!r}; did you mean {closest!r}?" in load_error_of(
        f"torchvision:{name}"
    )


def test_name_without_a_close_match_is_refused_with_examples():
    assert (
        "no data set ''; use a class of torchvision.datasets, such as CIFAR10, MNIST"
        in load_error_of("torchvision:")
    )


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "Country211", "Flowers102"])
def test_root_without_the_data_is_refused_and_not_written(tmp_path, name):
    message = load_error_of(f"torchvision:{name}:{tmp_path}")
    assert f"torchvision:{name}:{tmp_path} could not be loaded (RuntimeError: " in message
    assert f"check {tmp_path}, or use another ROOT" in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_class_with_other_required_parameters_is_refused(tmp_path):
    assert "could not be loaded (TypeError: " in load_error_of(
        f"torchvision:CocoDetection:{tmp_path}"
    )


def test_groups_are_refused(tmp_path):
    assert "has no columns; remove it" in load_error_of("torchvision:FakeData", group_by="patient")


def test_images_are_not_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHINAS_CACHE_GB", "1")
    write_country211(tmp_path)
    load(f"torchvision:Country211:{tmp_path}")
    assert not (tmp_path / "cache").exists()


def test_downloads_of_another_user_are_refused(tmp_path, monkeypatch, make_foreign):
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path))
    (tmp_path / "torchvision").mkdir()
    make_foreign(tmp_path / "torchvision")
    assert "it belongs to another user" in load_error_of("torchvision:MNIST")


def test_missing_torchvision_is_refused_with_the_extra_that_installs_it(monkeypatch):
    for name in ("torchvision", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    assert (
        "needs torchvision, which is not installed; pip install 'phinas[peers]'"
        in load_error_of("torchvision:MNIST")
    )


def test_torchvision_for_another_torch_version_is_refused(monkeypatch, tmp_path):
    (tmp_path / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert (
        "torchvision cannot be imported (operator torchvision::nms does not exist)"
        in load_error_of("torchvision:MNIST")
    )
