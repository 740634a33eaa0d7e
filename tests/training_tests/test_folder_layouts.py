"""Tests of folders as data sets come: without class folders, or with files of other formats."""

import json

import numpy as np
import pytest

from phinas.training.data.foreign_formats import describe_content
from phinas.training.data.labeling.split_names import means_no_class


@pytest.mark.parametrize(
    "name",
    [
        *("train", "test1", "train2017", "train_images", "TrainingSet", "JPEGImages", "images_001"),
        *("masks", "Annotations", "labels", "img", "data"),
    ],
)
def test_names_that_say_only_which_images_they_hold_are_no_classes(name):
    assert means_no_class(name)


@pytest.mark.parametrize("name", ["cat", "0", "n01443537", "with_mask", "No Mask", "train station"])
def test_other_names_may_be_classes(name):
    assert not means_no_class(name)


def write_files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")


LAYOUTS = {
    "flat splits": (("train", "test1"), (), "has no class folders, only test1, train"),
    "YOLO": (("images/train",), ("labels/train/0.txt",), "the annotations of object detection"),
    "COCO": (("train2017",), ("annotations/a.json",), "the annotations of object detection"),
    "COCO in splits": (
        ("train", "valid"),
        ("train/_annotations.coco.json",),
        "the annotations of object detection",
    ),
    "VOC": (("JPEGImages",), ("Annotations/0.xml",), "the annotations of object detection"),
    "table": (("images",), ("annotations/train.csv",), "in a folder of its own (annotations/train"),
    "masks": (("images", "masks"), (), "has the masks of segmentation (in images, masks)"),
    "one folder": (("images",), (), "has no class folders, only images"),
    "archives": ((), ("train.zip", "test.zip"), "no images but archives (test.zip, train.zip)"),
    "CIFAR-10": ((), ("c/data_batch_1", "c/batches.meta"), "use torchvision:CIFAR10"),
    "MNIST": ((), ("MNIST/raw/train-images-idx3-ubyte",), "use torchvision:MNIST"),
    "Arrow": ((), ("train/data-0.arrow", "train/state.json"), "with dataset.to_parquet(path)"),
    "NumPy": ((), ("images.npy", "labels.npy"), "np.savez(path, images=x, labels=y)"),
    "MATLAB": ((), ("data.mat",), "scipy.io.loadmat"),
    "hidden": ((".cat", ".dog"), (), "has only hidden folders (.cat, .dog), which are skipped"),
    "texts": ((), ("labels.csv", "readme.txt"), "has no images, only labels.csv, readme.txt"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_folder_without_class_folders_is_refused_with_what_it_is(
    tmp_path, layout, load_error, save_image
):
    folders, files, reason = layout
    for folder in folders:
        for index in range(2):
            save_image(tmp_path / folder / f"{index}.png")
    write_files(tmp_path, *files)
    message = load_error(tmp_path)
    assert reason in message
    assert str(tmp_path) in message


def test_flat_train_folder_beside_a_class_folder_is_a_class(tmp_path, load, save_image):
    for name in ("train", "bus"):
        save_image(tmp_path / name / "0.png")
    assert load(tmp_path).classes == ("bus", "train")


def test_arrays_in_class_folders_are_refused_with_the_format(tmp_path, load_error):
    write_files(tmp_path, "cat/0.npy", "dog/0.npy")
    assert "the class folder cat has 0.npy, which is a single NumPy array" in load_error(tmp_path)


def test_classes_that_differ_in_case_between_splits_are_named(tmp_path, load_error, save_image):
    for name in ("train/Cat", "train/Dog", "test/cat", "test/dog"):
        save_image(tmp_path / name / "0.png")
    assert "rename the folders like those of the train split ('Cat', 'Dog')" in load_error(tmp_path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("x.rar", "is an archive that is not supported; unpack it"),
        ("train_32x32.mat", "use torchvision:SVHN"),
        ("x.h5", "read it with h5py"),
        ("x.npy", "np.savez(path, images=x, labels=y)"),
        ("x.pkl", "which may run code when it is read"),
        ("x.tfrecord", "write the images into one folder for each class"),
        ("x.xlsx", "save it as CSV"),
        ("train-images-idx3-ubyte.gz", "use torchvision:MNIST"),
        ("cat.jpg", "name a folder with one folder of images for each class"),
    ],
)
def test_file_of_another_format_is_refused_with_its_conversion(tmp_path, name, advice, load_error):
    write_files(tmp_path, name)
    assert advice in load_error(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("https://huggingface.co/datasets/uoft-cs/cifar10/tree/main", "use hf:uoft-cs/cifar10"),
        ("https://example.org/data.zip", "download the data, and name the file or folder"),
        ("s3://bucket/data", "is an address; download the data"),
        ("uoft-cs/cifar10", "did you mean 'hf:uoft-cs/cifar10'?"),
    ],
)
def test_address_is_refused_with_what_to_name_instead(source, advice, load_error):
    assert advice in load_error(source)


CONTENTS = [
    (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
    (b"\0\0\0\n" + b"ftypmp42", "video"),
    (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG"),
    (b"\x93NUMPY\x01", "NumPy"),
    (b"\0" * 128 + b"DICM", "DICOM"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"\n<!DOCTYPE html>", "HTML page"),
    (b"II*\0\x10\0\0\0CR\x02\0", "raw photo"),
]


@pytest.mark.parametrize(("content", "word"), CONTENTS, ids=[word for _, word in CONTENTS])
def test_content_of_another_format_is_recognized(content, word):
    message = describe_content(content)
    assert message is not None
    assert word in " ".join(message)


def test_unknown_content_has_no_format():
    assert describe_content(b"\xff\xd8\xff\xe0") is None


def test_bad_image_is_named_in_one_sentence(tmp_path, two_classes, load_error):
    (two_classes(tmp_path) / "cat" / "x.heic").write_bytes(CONTENTS[0][0])
    assert "cat/x.heic is a HEIC photo, which is not supported" in load_error(tmp_path)


# --- metadata files, as Hugging Face writes them -------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_files_in_split_folders_are_read(tmp_path, kind, load, save_image):
    for split, count in (("train", 6), ("test", 4)):
        rows = []
        for index in range(count):
            save_image(tmp_path / "d" / split / f"{index}.png", (index, 0, 0))
            rows.append({"file_name": f"{index}.png", "label": index % 2})
        text = (
            "\n".join(["file_name,label", *(f"{r['file_name']},{r['label']}" for r in rows)])
            if kind == "csv"
            else "\n".join(map(json.dumps, rows))
        )
        (tmp_path / "d" / split / f"metadata.{kind}").write_text(text)
    data = load(tmp_path / "d")
    assert data.classes == ("0", "1")
    assert (len(data.train), len(data.test)) == (6, 4)
    assert data.test.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert data.notes == ()


def test_line_that_is_no_object_is_refused(tmp_path, load_error, save_image):
    save_image(tmp_path / "0.png")
    (tmp_path / "metadata.jsonl").write_text("[1]\n")
    assert "a line is '[1]', not an object" in load_error(tmp_path)


def test_only_data_file_of_a_folder_is_read(tmp_path, load):
    (tmp_path / "d" / "inner").mkdir(parents=True)
    np.savez(
        tmp_path / "d" / "inner" / "x.npz", images=np.zeros((4, 8, 8), np.uint8), labels=[0, 1] * 2
    )
    assert len(load(tmp_path / "d").train) == 4
