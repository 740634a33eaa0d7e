"""Tests of `load_images` that hold for every data source, and of the table of sources."""

import os
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

from phinas.experiment.executors.interface import import_function
from phinas.experiment.schema.config import DataSection
from phinas.training.data import sources
from phinas.training.data.image_dataset import load_images
from phinas.training.data.sources import SOURCES, SourceEntry


def test_progress_ends_at_the_number_of_images(tmp_path, two_classes):
    two_classes(tmp_path / "train", count=40)
    two_classes(tmp_path / "test", count=3)
    reports: list[tuple[int, int]] = []
    load_images(
        DataSection(source=str(tmp_path)),
        on_progress=lambda done, total: reports.append((done, total)),
    )
    assert reports[-1] == (86, 86)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_progress_is_reported_after_every_64_images(tmp_path, two_classes):
    two_classes(tmp_path, count=1)
    for index in range(1000):
        os.link(tmp_path / "cat" / "0.png", tmp_path / "cat" / f"more{index}.png")
    reports = []
    load_images(
        DataSection(source=str(tmp_path)), on_progress=lambda *counts: reports.append(counts)
    )
    assert {total for _, total in reports} == {1002}
    assert max(np.diff([done for done, _ in reports])) == 64


def test_five_of_many_bad_images_are_listed_and_the_others_counted(
    tmp_path, load_error, two_classes
):
    two_classes(tmp_path)
    for index in range(8):
        (tmp_path / "dog" / f"bad{index}.png").write_bytes(b"")
    message = load_error(tmp_path)
    assert "8 of 12 images" in message
    assert message.count("is empty") == 5
    assert "bad4.png" in message
    assert "and 3 more" in message


def test_bad_images_of_both_splits_are_reported_together(tmp_path, load_error, two_classes):
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test")
    for split in ("train", "test"):
        (tmp_path / split / "cat" / "x.png").write_bytes(b"")
    message = load_error(tmp_path)
    assert "train/cat/x.png" in message
    assert "test/cat/x.png" in message


def test_class_without_a_good_image_is_refused_even_if_bad_images_are_skipped(
    tmp_path, load_error, two_classes
):
    two_classes(tmp_path)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "x.png").write_bytes(b"")
    assert "the train split has no image of class 'eel'" in load_error(
        tmp_path, skip_bad_images=True
    )


def test_source_without_a_good_image_is_refused_even_if_bad_images_are_skipped(
    tmp_path, load_error
):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
    assert "has no training images" in load_error(tmp_path, skip_bad_images=True)


def test_misspelled_name_is_refused_with_the_closest_one(load_error):
    assert "'digit' does not exist; did you mean 'digits'?" in load_error("digit")


def test_misspelled_path_is_refused_with_the_closest_one(tmp_path, load_error):
    (tmp_path / "flowers").mkdir()
    assert f"did you mean '{tmp_path / 'flowers'}'?" in load_error(tmp_path / "flower")


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nul\0l", "~nobody-here/x"])
def test_path_that_does_not_exist_is_refused_with_the_known_sources(source, load_error):
    assert "does not exist; use one of digits, FILE.parquet" in load_error(source)


def test_path_that_is_too_long_is_refused(load_error):
    assert "cannot be read: File name too long" in load_error("x" * 5000)


def test_file_of_unknown_type_is_refused_with_the_known_sources(tmp_path, load_error):
    (tmp_path / "pets.abc").write_bytes(b"abc")
    message = load_error(tmp_path / "pets.abc")
    assert "pets.abc is a file of unknown type '.abc'" in message
    assert all(entry.usage in message for entry in SOURCES.values())


def test_single_class_is_refused(tmp_path, load_error, save_image):
    save_image(tmp_path / "cat" / "a.png")
    assert "has only one class (cat); add images of another class" in load_error(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read all files")
def test_folder_without_read_permission_is_refused(tmp_path, load_error, two_classes):
    (two_classes(tmp_path) / "cat").chmod(0)
    assert "cannot be read: Permission denied" in load_error(tmp_path)


# --- the table of sources ------------------------------------------------------------------------


@pytest.mark.parametrize("entry", SOURCES.values(), ids=SOURCES.keys())
def test_each_entry_has_a_function_that_reads_it(entry):
    assert callable(import_function(entry.path))
    assert entry.summary.endswith(".")


def test_each_module_of_the_package_is_listed():
    modules = {entry.path.partition(":")[0] for entry in SOURCES.values()}
    assert modules == {
        f"{sources.__name__}.{module.name}" for module in pkgutil.iter_modules(sources.__path__)
    }


def test_table_of_sources_imports_no_library():
    program = (
        "import sys; import phinas.training.data.sources; "
        "print({'torch', 'numpy', 'pyarrow', 'PIL'} & sys.modules.keys())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


STRIPES_MODULE = """
import numpy as np

from phinas.training.data.source_dataset import ArrayDataset, LabeledImages


def load_stripes(source, options):
    size = int(str(source).partition(":")[2])
    images = np.zeros((2, size, size, 1), np.uint8)
    images[0, ::2] = images[1, :, ::2] = 255
    images = LabeledImages(images, np.arange(2))
    return ArrayDataset(("rows", "columns"), images, allow_flip=False)
"""


@pytest.fixture
def stripes_source(tmp_path, monkeypatch):
    """Add a source, which is one module and one entry of the table."""
    (tmp_path / "stripes_source.py").write_text(STRIPES_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    entry = SourceEntry(
        "stripes:SIZE", "Striped images.", "stripes_source:load_stripes", prefix="stripes:"
    )
    monkeypatch.setitem(SOURCES, "stripes", entry)


@pytest.mark.usefixtures("stripes_source")
def test_added_source_is_loaded(load):
    data = load("stripes:6")
    assert data.name == "6"
    assert data.classes == ("rows", "columns")
    assert data.train.pixels.shape == (2, 6, 6, 1)
    assert not data.allow_flip


@pytest.mark.usefixtures("stripes_source")
def test_added_source_is_in_the_error_about_an_unknown_source(load_error):
    assert "stripes:SIZE" in load_error("unknown")
