"""Checks of a file before the work that leads to it."""

import errno
import tempfile

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.output_file import check_output_file


def test_a_file_that_can_be_written_passes_and_nothing_is_left(tmp_path):
    check_output_file(tmp_path / "new" / "folder" / "x.csv", option="--csv")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_keeps_its_content(tmp_path):
    (tmp_path / "x.csv").write_text("old")
    check_output_file(tmp_path / "x.csv", option="--csv")
    assert (tmp_path / "x.csv").read_text() == "old"


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^--csv: '.*' is a directory; name a file$"):
        check_output_file(tmp_path, option="--csv")


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match=r"^--out: '.*' cannot be written \(Not a directory\)"):
        check_output_file(tmp_path / "x" / "y.onnx", option="--out")


def test_a_read_only_directory_is_refused(tmp_path, monkeypatch):
    # root may write into any directory, so the error of the system is simulated
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"\(Read-only file system\); use another directory"):
        check_output_file(tmp_path / "x.onnx", option="--out")
