"""Tests of the folder in which an export is written before it gets its name."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phinas.space.interchange.partial_files import partial_files

_WAIT = """
import sys, time
from pathlib import Path
from phinas.space.interchange.partial_files import partial_files
with partial_files(Path(sys.argv[1])) as folder:
    (folder / "partial").write_text("x")
    print("ready", flush=True)
    time.sleep(600)
"""


def make_older(directory: Path) -> None:
    for folder in directory.iterdir():
        os.utime(folder, (time.time() - 60, time.time() - 60))


def test_the_folder_is_beside_the_file_and_is_removed(tmp_path):
    path = tmp_path / "new" / "net.onnx"
    with partial_files(path) as folder:
        (folder / "partial").write_text("x")
        assert folder.parent == path.parent
    assert not list(path.parent.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="directories cannot be locked")
def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_running_one_is_not(tmp_path):
    path = tmp_path / "net.onnx"
    with subprocess.Popen(
        [sys.executable, "-c", _WAIT, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        make_older(tmp_path)
        with partial_files(path):
            pass
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGKILL)
    make_older(tmp_path)
    with partial_files(path):
        pass
    assert not list(tmp_path.iterdir())
