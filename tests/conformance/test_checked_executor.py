"""The executor that stops a run whose files are gone, and workers of another version."""

import subprocess
import sys
from pathlib import Path

import pytest

from phinas.experiment.errors import DiskError
from phinas.experiment.executors import Job
from phinas.experiment.executors.checked import CheckedExecutor
from phinas.experiment.executors.inline import InlineExecutor


def check_file(path: Path) -> None:
    if not path.exists():
        raise DiskError(f"{path}: is gone")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.touch()
    return path


@pytest.fixture
def executor(path: Path) -> CheckedExecutor:
    return CheckedExecutor(InlineExecutor(1), lambda: check_file(path))


def test_a_failure_with_all_files_is_returned(executor: CheckedExecutor) -> None:
    executor.submit(Job("key", "math:sqrt", {"x": 1}))
    assert executor.next_result().failure == "exception"


def test_a_failure_without_a_file_is_an_error_that_names_it(
    executor: CheckedExecutor, path: Path
) -> None:
    executor.submit(Job("key", "math:sqrt", {"x": 1}))
    path.unlink()
    with pytest.raises(DiskError, match=f"{path}: is gone"):
        executor.next_result()


def test_no_job_starts_without_a_file_and_a_result_is_not_lost(
    executor: CheckedExecutor, path: Path
) -> None:
    job = Job("key", "phinas.testing.functions:smooth", {})
    executor.submit(Job("key", "builtins:dict", {"a": 1}))
    path.unlink()
    assert executor.next_result().value == {"a": 1}
    with pytest.raises(DiskError):
        executor.submit(job)


OTHER_VERSION_DRIVER = """
import sys
from contextlib import closing
from phinas.experiment.errors import StorageError
from phinas.experiment.executors import EXECUTORS, Job
from phinas.experiment.versions import version

with closing(EXECUTORS["processes"](1)) as executor:
    before = version()
    # what an upgrade of the package during a run does to the workers that start after it
    sys.path.insert(0, sys.argv[1])
    executor.submit(Job("key", "builtins:dict", {}))
    sys.path.remove(sys.argv[1])
    try:
        executor.next_result()
    except StorageError as error:
        print(error)
        sys.exit(error.exit_code)
"""


def test_a_worker_of_another_version_is_refused(tmp_path: Path) -> None:
    metadata = tmp_path / "phinas-99.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: phinas\nVersion: 99.0\n")
    result = subprocess.run(
        [sys.executable, "-c", OTHER_VERSION_DRIVER, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 4, result.stderr
    assert "a worker runs phinas 99.0 but the driver runs phinas" in result.stdout
    assert "install the same version for both" in result.stdout
