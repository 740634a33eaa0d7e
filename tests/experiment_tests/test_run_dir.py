"""The run directory: its lock, atomic writes, and refusal of other directories."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from phinas.experiment.artifacts.manifest import FileRecord
from phinas.experiment.errors import DiskError, InputError, InUseError, StorageError
from phinas.experiment.manifest import (
    create_run,
    file_sha256,
    find_missing_members,
    new_manifest,
    read_manifest,
    record_artifacts,
    record_family,
    update_manifest,
)
from phinas.experiment.run_dir import RunDir, write_atomic, write_json

LOCKING_SCRIPT = """
import sys, time
from phinas.experiment.run_dir import RunDir
with RunDir(sys.argv[1]).locked():
    print("locked", flush=True)
    time.sleep(60)
"""


@contextmanager
def locked_by_another_process(path):
    with subprocess.Popen(
        [sys.executable, "-c", LOCKING_SCRIPT, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_locked_run_is_refused_at_once_with_pid_and_host(tmp_path):
    with locked_by_another_process(tmp_path) as holder:
        start = time.monotonic()
        with pytest.raises(InUseError) as error_info, RunDir(tmp_path).locked():
            pass
    assert f"is in use by process {holder.pid} on {socket.gethostname()}" in str(error_info.value)
    assert time.monotonic() - start < 2


def test_lock_of_a_killed_process_is_released_at_once(tmp_path):
    with locked_by_another_process(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with RunDir(tmp_path).locked():
            assert json.loads((tmp_path / "holder.json").read_text())["pid"] == os.getpid()


def test_refused_process_leaves_the_lock_unchanged(tmp_path):
    with locked_by_another_process(tmp_path) as holder:
        for _ in range(2):
            with pytest.raises(InUseError, match=str(holder.pid)), RunDir(tmp_path).locked():
                pass


def test_released_run_has_no_holder_file_and_can_be_locked_again(tmp_path):
    for _ in range(2):
        with RunDir(tmp_path).locked():
            pass
        assert not (tmp_path / "holder.json").exists()


def test_lock_is_released_after_an_exception(tmp_path):
    with pytest.raises(ZeroDivisionError), RunDir(tmp_path).locked():
        raise ZeroDivisionError
    with RunDir(tmp_path).locked():
        pass


def test_create_run_makes_the_directory_a_run(tmp_path):
    run = RunDir(tmp_path / "new" / "run 1\n🎉")
    assert not run.exists
    create_run(run, "data: {}\n", new_manifest(seed=1))
    assert run.exists
    assert run.config.read_text() == "data: {}\n"
    assert read_manifest(run).seed == 1
    run.require_run()


def test_create_run_works_under_the_lock(tmp_path):
    run = RunDir(tmp_path / "run")
    with run.locked():
        create_run(run, "x", new_manifest(seed=1))
    assert run.exists


def test_killed_start_can_be_repeated(tmp_path):
    for name in (".lock", "holder.json", "manifest.json", "config.yaml.123.tmp"):
        (tmp_path / name).write_text("{}")
    run = RunDir(tmp_path)
    create_run(run, "x", new_manifest(seed=1))
    assert run.exists


@pytest.mark.parametrize("inside", ["", "/below", "/below/that"])
def test_path_that_is_a_file_or_below_a_file_is_refused(tmp_path, inside):
    (tmp_path / "file").write_text("mine")
    run = RunDir(f"{tmp_path}/file{inside}")
    with pytest.raises(InputError, match="is a file; --out needs a new or empty directory"):
        create_run(run, "x", new_manifest(seed=1))
    with pytest.raises(InputError, match="is a file"), run.locked():
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_directory_with_other_files_is_refused_and_unchanged(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"contains 'thesis\.tex' and is not a run"):
        create_run(RunDir(tmp_path), "x", new_manifest(seed=1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["data/cats/1.jpg", "study.db", "manifest.json", "notes.tmp"])
def test_user_files_named_like_run_files_are_refused_and_unchanged(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="and is not a run; --out needs a new or empty directory"):
        RunDir(tmp_path).require_available()
    assert path.read_text() == "mine"


def test_only_files_of_a_killed_start_are_removed(tmp_path):
    with locked_by_another_process(tmp_path) as holder:
        holder.kill()
        holder.wait()
    (tmp_path / "data").mkdir()
    for name in (
        "manifest.json",
        "study.db",
        "study.db-wal",
        "config.yaml.12.tmp",
        "data/train_val.npz",
    ):
        (tmp_path / name).write_text("{}")
    run = RunDir(tmp_path)
    run.require_available()
    with run.locked():
        run.remove_leftovers()
        create_run(run, "x", new_manifest(seed=1))
    assert {entry.name for entry in tmp_path.iterdir()} - {".lock"} == {
        "config.yaml",
        "manifest.json",
    }


def test_run_is_not_created_twice(tmp_path):
    run = RunDir(tmp_path)
    create_run(run, "first", new_manifest(seed=1))
    with pytest.raises(InputError, match="is a run already; resume it"):
        create_run(run, "second", new_manifest(seed=1))
    assert run.config.read_text() == "first"


@pytest.mark.parametrize(
    ("name", "problem"), [("none", "does not exist"), (".", "is not a run directory")]
)
def test_path_that_is_not_a_run_is_refused_with_the_command_that_starts_one(
    tmp_path, name, problem
):
    with pytest.raises(InputError, match=f"{problem}.*phinas run --out DIR"):
        RunDir(tmp_path / name).require_run()
    assert list(tmp_path.iterdir()) == []


def test_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDir("~/run").path == tmp_path / "run"


def test_write_replaces_the_file_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_atomic(path, "a longer first text")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, 3)
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_write_to_a_directory_fails_and_leaves_no_temporary_file(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_atomic(tmp_path / "a", "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_json_with_nan_is_refused_and_the_old_file_remains(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_manifest_has_versions_machine_and_seed_but_no_host_name(tmp_path):
    manifest = new_manifest(seed=7)
    assert manifest.seed == 7
    assert manifest.machine.packages["torch"]
    assert manifest.machine.cores >= 1
    assert socket.gethostname() not in json.dumps(manifest.to_dict())


def test_artifacts_are_recorded_with_size_and_sha256(tmp_path):
    run = RunDir(tmp_path)
    create_run(run, "x", new_manifest(seed=0))
    write_atomic(run.baseline, "abc")
    write_atomic(run.coefficients, "")
    record_artifacts(run, [run.baseline])
    record_artifacts(run, [run.coefficients, run.validation])  # the second does not exist
    assert read_manifest(run).artifacts == {
        "search/baseline.yaml": FileRecord(
            bytes=3,
            sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        "scaling/coefficients.yaml": FileRecord(
            bytes=0,
            sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
    }


def test_a_new_family_replaces_the_records_of_an_earlier_one_but_not_those_of_weights(tmp_path):
    run = RunDir(tmp_path)
    create_run(run, "x", new_manifest(seed=0))
    paths = [run.family / name for name in ("b0.yaml", "b1.yaml", "b2.yaml", "b0.safetensors")]
    for path in paths:
        write_atomic(path, "abc")
    record_artifacts(run, paths)
    record_family(run, paths[:2])
    assert set(read_manifest(run).artifacts) == {
        "scaling/family/b0.safetensors",
        "scaling/family/b0.yaml",
        "scaling/family/b1.yaml",
    }


def test_members_whose_files_are_gone_are_missing_whether_deleted_or_renamed(tmp_path):
    run = RunDir(tmp_path)
    create_run(run, "x", new_manifest(seed=0))
    paths = [run.family / name for name in ("b0.yaml", "b1.yaml", "b2.yaml")]
    for path in paths:
        write_atomic(path, "abc")
    record_family(run, paths)
    assert find_missing_members(run, read_manifest(run)) == []
    paths[1].unlink()
    paths[2].rename(run.family / "mine.yaml")
    assert find_missing_members(run, read_manifest(run)) == ["b1", "b2"]


def test_update_of_the_manifest_changes_only_the_named_fields(tmp_path):
    run = RunDir(tmp_path)
    manifest = new_manifest(seed=3, goal=["search", "report"])
    create_run(run, "x", manifest)
    update_manifest(run, workers=2)
    update_manifest(run, executor="inline")
    assert read_manifest(run) == manifest.model_copy(update={"workers": 2, "executor": "inline"})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"version": 2},
            InputError,
            "format version 2 is newer than this phinas reads (1); upgrade phinas",
        ),
        ({"seed": "one"}, StorageError, "seed: 'one' is not a whole number"),
        ({"sed": 1}, StorageError, "sed: unknown key (did you mean 'seed'?)"),
        ({"machine": {}}, StorageError, "machine.system: is missing"),
    ],
)
def test_damaged_manifest_is_one_error_that_names_the_field(tmp_path, change, error, message):
    run = RunDir(tmp_path)
    create_run(run, "x", new_manifest(seed=0))
    write_json(run.manifest, json.loads(run.manifest.read_text()) | change)
    with pytest.raises(error) as error_info:
        read_manifest(run)
    assert str(error_info.value).startswith(f"{run.manifest}: {message}")


@pytest.mark.parametrize("fraction", [0.0, 0.5, None])
def test_a_torn_or_missing_manifest_is_a_storage_error_that_names_it(tmp_path, fraction):
    run = RunDir(tmp_path)
    create_run(run, "x", new_manifest(seed=0))
    content = run.manifest.read_bytes()
    if fraction is None:
        run.manifest.unlink()
    else:
        run.manifest.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(StorageError, match=r"manifest\.json: .*; restore the file from a copy"):
        update_manifest(run, workers=1)
    assert run.manifest.exists() is (fraction is not None)


def test_only_temporary_files_of_a_killed_process_are_removed(tmp_path):
    run = RunDir(tmp_path)
    create_run(run, "x", new_manifest(seed=0))
    leftovers = [tmp_path / "manifest.json.12.tmp", tmp_path / "report" / "a.svg.345.tmp"]
    others = [tmp_path / "notes.tmp", tmp_path / "report" / "a.tmp.txt", tmp_path / "a.1.tmp"]
    for path in (*leftovers, *others):
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if path == others[-1] else path.touch()
    run.remove_temporary_files()
    assert [path.exists() for path in (*leftovers, *others)] == [False] * 2 + [True] * 3


def test_a_lock_that_is_a_symbolic_link_is_named(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(target)
    message = r"\.lock: is a symbolic link and cannot be the lock"
    with pytest.raises(DiskError, match=message), RunDir(tmp_path / "run").locked():
        pass
    assert target.read_text() == "mine"


def test_an_error_in_a_removed_directory_names_the_directory(tmp_path):
    run = RunDir(tmp_path / "run")

    def remove_and_fail():
        run.path.rename(tmp_path / "elsewhere")
        raise ValueError("a result of the removal")

    with pytest.raises(DiskError, match=r"run: was removed while phinas used it"), run.locked():
        remove_and_fail()
    assert not run.path.exists()
    run.require_unchanged()  # it is not locked any more


def test_a_directory_in_place_of_a_locked_one_is_not_changed(tmp_path):
    run = RunDir(tmp_path / "run")

    def replace():
        run.path.rename(tmp_path / "elsewhere")
        run.path.mkdir()
        (run.path / "holder.json").write_text("of another process")
        run.require_unchanged()

    with pytest.raises(DiskError, match="was replaced by another directory"), run.locked():
        replace()
    assert (run.path / "holder.json").read_text() == "of another process"


def test_a_folder_of_a_run_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    run = RunDir(tmp_path / "run")
    with run.locked():
        run.checkpoints.mkdir()
        run.require_unchanged()
        # root may write to any folder, whatever its mode
        monkeypatch.setattr("os.access", lambda path, _mode: path != run.checkpoints)
        with pytest.raises(DiskError, match=r"checkpoints: cannot be written any more"):
            run.require_unchanged()


def test_password_in_the_command_is_not_recorded(monkeypatch):
    url = "run.storage=postgresql://me:secret@host/name"
    monkeypatch.setattr("sys.argv", ["phinas", "run", "--set", url])
    assert new_manifest(seed=0).command[-1] == "run.storage=postgresql://me:***@host/name"


def test_changed_byte_changes_the_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    before = file_sha256(path)
    path.write_bytes(b"abd")
    assert file_sha256(path) != before
