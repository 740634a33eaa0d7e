"""A run directory: one holder, whole files or none, and nobody else's directory."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from phinas.experiment.errors import InputError, InUseError
from phinas.experiment.manifest import file_sha256, new_manifest, read_manifest, record_artifacts
from phinas.experiment.run_dir import RunDir, write_atomic, write_json

HOLDER = """
import sys, time
from phinas.experiment.run_dir import RunDir
with RunDir(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held_by_another(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_a_held_run_is_refused_at_once_naming_pid_and_host(tmp_path):
    with held_by_another(tmp_path) as holder:
        start = time.monotonic()
        with pytest.raises(InUseError) as caught, RunDir(tmp_path).locked():
            pass
    assert f"is in use by process {holder.pid} on {socket.gethostname()}" in str(caught.value)
    assert time.monotonic() - start < 2


def test_the_lock_of_a_killed_holder_is_free_at_once(tmp_path):
    with held_by_another(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with RunDir(tmp_path).locked():
            assert json.loads((tmp_path / "holder.json").read_text())["pid"] == os.getpid()


def test_a_refused_driver_does_not_disturb_the_holder(tmp_path):
    with held_by_another(tmp_path) as holder:
        for _ in range(2):
            with pytest.raises(InUseError, match=str(holder.pid)), RunDir(tmp_path).locked():
                pass


def test_a_released_run_names_no_holder_and_can_be_held_again(tmp_path):
    for _ in range(2):
        with RunDir(tmp_path).locked():
            pass
        assert not (tmp_path / "holder.json").exists()


def test_a_lock_is_released_when_the_work_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), RunDir(tmp_path).locked():
        raise ZeroDivisionError
    with RunDir(tmp_path).locked():
        pass


def test_creating_makes_the_directory_a_run(tmp_path):
    run = RunDir(tmp_path / "new" / "run 1\n🎉")
    assert not run.exists
    run.create("data: {}\n", {"seed": 1})
    assert run.exists
    assert run.config.read_text() == "data: {}\n"
    assert read_manifest(run) == {"seed": 1}
    run.require_run()


def test_creating_works_under_the_lock(tmp_path):
    run = RunDir(tmp_path / "run")
    with run.locked():
        run.create("x", {})
    assert run.exists


def test_a_start_that_was_killed_may_be_started_again(tmp_path):
    for name in (".lock", "holder.json", "manifest.json", "config.yaml.123.tmp"):
        (tmp_path / name).write_text("{}")
    run = RunDir(tmp_path)
    run.create("x", {})
    assert run.exists


@pytest.mark.parametrize("inside", ["", "/below", "/below/that"])
def test_a_path_that_is_or_leads_through_a_file_is_refused(tmp_path, inside):
    (tmp_path / "file").write_text("mine")
    run = RunDir(f"{tmp_path}/file{inside}")
    with pytest.raises(InputError, match="is a file; --out needs a new or empty directory"):
        run.create("x", {})
    with pytest.raises(InputError, match="is a file"), run.locked():
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_with_somebody_elses_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'thesis\.tex' and is not a run"):
        RunDir(tmp_path).create("x", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["data/cats/1.jpg", "study.db", "manifest.json", "notes.tmp"])
def test_files_of_the_user_that_are_named_like_ours_are_left_alone(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="and is not a run; --out needs a new or empty directory"):
        RunDir(tmp_path).require_available()
    assert path.read_text() == "mine"


def test_what_a_killed_start_left_is_cleared_and_nothing_else(tmp_path):
    with held_by_another(tmp_path) as holder:
        holder.kill()
        holder.wait()
    (tmp_path / "data").mkdir()
    for name in (
        "manifest.json",
        "study.db",
        "study.db-wal",
        "config.yaml.12.tmp",
        "data/steer.npz",
    ):
        (tmp_path / name).write_text("{}")
    run = RunDir(tmp_path)
    run.require_available()
    with run.locked():
        run.remove_leftovers()
        run.create("x", {})
    assert {entry.name for entry in tmp_path.iterdir()} - {".lock"} == {
        "config.yaml",
        "manifest.json",
    }


def test_a_run_is_not_created_twice(tmp_path):
    run = RunDir(tmp_path)
    run.create("first", {})
    with pytest.raises(InputError, match="is a run already; resume it"):
        run.create("second", {})
    assert run.config.read_text() == "first"


@pytest.mark.parametrize(
    ("name", "what"), [("none", "does not exist"), (".", "is not a run directory")]
)
def test_what_is_no_run_is_refused_with_the_way_to_start_one(tmp_path, name, what):
    with pytest.raises(InputError, match=f"{what}.*phinas run --out DIR"):
        RunDir(tmp_path / name).require_run()
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDir("~/run").path == tmp_path / "run"


def test_writing_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_atomic(path, "a longer first text")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, 3)
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_onto_a_directory_fails_and_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_atomic(tmp_path / "a", "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_json_with_nan_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_manifest_says_versions_machine_and_seed_but_no_host(tmp_path):
    manifest = new_manifest(seed=7)
    assert manifest["seed"] == 7
    assert manifest["machine"]["packages"]["torch"]
    assert manifest["machine"]["cores"] >= 1
    assert socket.gethostname() not in json.dumps(manifest["machine"])


def test_artifacts_are_recorded_with_size_and_sha256(tmp_path):
    run = RunDir(tmp_path)
    run.create("x", new_manifest(seed=0))
    write_atomic(run.baseline, "abc")
    write_atomic(run.coefficients, "")
    record_artifacts(run, [run.baseline])
    record_artifacts(run, [run.coefficients, run.validation])  # the second is not there
    assert read_manifest(run)["artifacts"] == {
        "search/baseline.yaml": {
            "bytes": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        },
        "scaling/coefficients.yaml": {
            "bytes": 0,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        },
    }


def test_a_changed_byte_changes_the_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    before = file_sha256(path)
    path.write_bytes(b"abd")
    assert file_sha256(path) != before
