"""Every executor gives a job the files that it needs and returns those that it writes."""

import hashlib
from contextlib import closing

import pytest

from phinas.experiment.executors import EXECUTORS, Job
from phinas.experiment.executors.job_files import JobFile

JOBS = """
from pathlib import Path

def copy(files, name="state"):
    path = files.find(name)
    content = path.read_bytes() if path else None
    target = files.output_path("copy")
    if target: target.write_bytes((content or b"none") + b" copied")
    text = content.decode() if content else None
    return {"content": text, "path": str(path), "target": str(target)}

def write_and_fail(files):
    files.output_path("partial").write_bytes(b"partial")
    raise RuntimeError("failed")

def exists(path): return {"exists": Path(path).exists()}
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "jobs_with_files.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "jobs_with_files"


@pytest.fixture(scope="module")
def executor(name, jobs):
    with closing(EXECUTORS[name](1)) as executor:
        yield executor


def run(executor, job):
    executor.submit(job)
    return executor.next_result()


def input_file(path, content=b"state"):
    path.write_bytes(content)
    return {"state": JobFile(str(path), hashlib.sha256(b"state").hexdigest())}


def test_a_job_reads_its_files_and_its_outputs_are_returned(executor, jobs, tmp_path):
    files, folder = input_file(tmp_path / "input"), tmp_path / "outputs"
    job = Job("key", f"{jobs}:copy", {}, files=files, output_folder=str(folder))
    result = run(executor, job)
    assert result.value is not None, result.reason
    assert result.value["content"] == "state"
    [(name, file)] = result.files.items()
    assert (name, file.path) == ("copy", str(folder / "copy"))
    assert (folder / "copy").read_bytes() == b"state copied"
    assert file.sha256 == hashlib.sha256(b"state copied").hexdigest()


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_missing_or_changed_file_is_missing_for_the_job(executor, jobs, tmp_path, damage):
    files = input_file(tmp_path / "input", b"other")
    if damage == "missing":
        (tmp_path / "input").unlink()
    result = run(executor, Job("key", f"{jobs}:copy", {}, files=files))
    assert (result.value["content"], result.files) == (None, {})
    assert run(executor, Job("key", f"{jobs}:copy", {"name": "absent"})).value["content"] is None


def test_a_failed_attempt_leaves_no_files_for_the_next_one(executor, jobs, tmp_path):
    folder = tmp_path / "outputs"
    failed = run(executor, Job("key", f"{jobs}:write_and_fail", {}, output_folder=str(folder)))
    assert (failed.failure, failed.files) == ("exception", {})
    result = run(executor, Job("key", f"{jobs}:copy", {}, output_folder=str(folder)))
    assert set(result.files) == {"copy"}
    assert {path.name for path in folder.iterdir()} == {"copy"}


@pytest.mark.slow
def test_ray_sends_a_file_to_a_machine_that_lacks_it_and_removes_it_after_the_job(
    jobs, tmp_path, ray_on_two_cores, monkeypatch
):
    """The file is removed after it was sent, so the worker's machine does not have it."""
    files, folder = input_file(tmp_path / "input"), tmp_path / "outputs"
    job = Job("key", f"{jobs}:copy", {}, files=files, output_folder=str(folder))
    with closing(EXECUTORS["ray"](1)) as executor:
        import phinas.experiment.executors.ray_tasks as ray_tasks

        read_inputs = ray_tasks.read_inputs

        def read_and_remove(inputs):
            contents = read_inputs(inputs)
            (tmp_path / "input").unlink(missing_ok=True)
            return contents

        monkeypatch.setattr(ray_tasks, "read_inputs", read_and_remove)
        value = run(executor, job).value
        assert value["content"] == "state"
        assert not value["path"].startswith(str(tmp_path))
        assert not value["target"].startswith(str(tmp_path))
        for path in (value["path"], value["target"]):
            left = run(executor, Job("exists", f"{jobs}:exists", {"path": path}))
            assert left.value == {"exists": False}
    assert (folder / "copy").read_bytes() == b"state copied"
