"""Tests of the cache of decoded images: reuse of entries, limits, and failures without an error."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phinas.experiment.errors import InputError
from phinas.experiment.manifest import file_sha256
from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import ImageDataset, load_images

SIZE = 16


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Folder of the entries of an empty cache, which is only used in this test."""
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHINAS_CACHE_GB", "1")
    return tmp_path / "cache" / "images"


def write_class_folders(root: Path, *, seed: int = 0, count: int = 4) -> Path:
    noise = np.random.default_rng(seed)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.fromarray(noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(
                root / name / f"{index}.png"
            )
    return root


def load(root: Path, **options: object) -> ImageDataset:
    return load_images(DataSection.model_validate({"source": str(root)} | options))


def list_entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir()) if cache.exists() else []


def mark_entry(entry: Path) -> None:
    """Set all pixels of a valid entry to 7, so that images read from it can be recognized."""
    pixels = np.load(entry / "pixels.npy")
    np.save(entry / "pixels.npy", np.full_like(pixels, 7))
    record = json.loads((entry / "record.json").read_text())
    record |= {"sha256": file_sha256(entry / "pixels.npy")}
    (entry / "record.json").write_text(json.dumps(record))


def is_from_marked_entry(data: ImageDataset) -> bool:
    return bool((data.train.pixels == 7).all())


def test_images_are_decoded_once(tmp_path, cache):
    first = load(write_class_folders(tmp_path / "pets"))
    again = load(tmp_path / "pets")
    assert np.array_equal(first.train.pixels, again.train.pixels)
    mark_entry(*list_entries(cache))
    assert is_from_marked_entry(load(tmp_path / "pets"))


def test_copied_images_share_an_entry(tmp_path, cache):
    load(write_class_folders(tmp_path / "pets"))
    load(write_class_folders(tmp_path / "moved" / "animals"))
    assert len(list_entries(cache)) == 1


def test_both_splits_are_cached(tmp_path, cache):
    write_class_folders(tmp_path / "train"), write_class_folders(tmp_path / "test", seed=1)
    load(tmp_path)
    assert len(list_entries(cache)) == 2


@pytest.mark.parametrize(
    "change", ["content", "name", "image size", "resize mode", "additional image"]
)
def test_changed_images_or_another_image_size_make_another_entry(tmp_path, cache, change):
    root = write_class_folders(tmp_path / "pets")
    load(root)
    mark_entry(*list_entries(cache))
    if change == "content":
        Image.new("RGB", (SIZE, SIZE)).save(root / "cat" / "2.png")
    elif change == "name":
        (root / "cat" / "2.png").rename(root / "cat" / "2b.png")
    elif change == "additional image":
        Image.new("RGB", (SIZE, SIZE)).save(root / "cat" / "9.png")
    options = {
        "image_size": 8 if change == "image size" else SIZE,
        "resize_mode": "squash" if change == "resize mode" else "crop",
    }
    assert not is_from_marked_entry(load(root, **options))
    assert len(list_entries(cache)) == 2


def test_bad_images_are_cached_with_their_reasons(tmp_path, cache):
    (write_class_folders(tmp_path / "pets") / "cat" / "x.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"cat/x\.png is empty"):
        load(tmp_path / "pets")
    mark_entry(*list_entries(cache))
    data = load(tmp_path / "pets", skip_bad_images=True)
    assert is_from_marked_entry(data)
    assert data.skipped_images == (("cat/x.png", "is empty (0 bytes)"),)
    assert len(data.train) == 8
    with pytest.raises(InputError, match=r"cat/x\.png is empty"):
        load(tmp_path / "pets")


def test_arrays_are_not_cached(tmp_path, cache):
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 6, 6, 3), np.uint8), y=[0, 1, 0, 1])
    load(tmp_path / "x.npz")
    load(Path("digits"))
    assert not list_entries(cache)


def test_progress_of_cached_images_ends_at_the_number_of_images(tmp_path, cache):
    load(write_class_folders(tmp_path / "pets"))
    reports: list[tuple[int, int]] = []
    load_images(
        DataSection(source=str(tmp_path / "pets")),
        on_progress=lambda *counts: reports.append(counts),
    )
    assert reports[-1] == (8, 8)


@pytest.mark.parametrize("name", ["pixels.npy", "record.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped byte"])
def test_damaged_entry_is_written_again(tmp_path, cache, name, damage):
    first = load(write_class_folders(tmp_path / "pets"))
    path = list_entries(cache)[0] / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-3] ^= 64
        path.write_bytes(content)
    assert np.array_equal(load(tmp_path / "pets").train.pixels, first.train.pixels)
    mark_entry(*list_entries(cache))
    assert is_from_marked_entry(load(tmp_path / "pets"))


@pytest.mark.parametrize("name", ["", "pixels.npy", "record.json"])
def test_entry_of_another_user_is_written_again(tmp_path, cache, make_foreign, name):
    first = load(write_class_folders(tmp_path / "pets"))
    (entry,) = list_entries(cache)
    mark_entry(entry)
    make_foreign(entry / name)
    assert np.array_equal(load(tmp_path / "pets").train.pixels, first.train.pixels)
    assert (entry / name).stat().st_uid == os.geteuid()


def test_entry_under_the_name_of_another_is_written_again(tmp_path, cache):
    load(write_class_folders(tmp_path / "cats"))
    (entry,) = list_entries(cache)
    entry.rename(tmp_path / "entry")
    load(write_class_folders(tmp_path / "pets", seed=1))
    (other,) = list_entries(cache)
    shutil.rmtree(other)
    (tmp_path / "entry").rename(other)
    mark_entry(other)
    assert not is_from_marked_entry(load(tmp_path / "pets"))


def test_cache_folder_of_another_user_is_not_used(tmp_path, cache, make_foreign):
    cache.mkdir(parents=True)
    make_foreign(cache)
    write_class_folders(tmp_path / "pets")
    with pytest.warns(RuntimeWarning, match="images cannot be used .it belongs to another user"):
        assert len(load(tmp_path / "pets").train) == 8
    assert not list_entries(cache)


@pytest.mark.parametrize("exists", [False, True])
def test_cache_folder_is_private(tmp_path, cache, exists):
    if exists:
        cache.mkdir(parents=True)
        cache.chmod(0o777)
    load(write_class_folders(tmp_path / "pets"))
    assert cache.stat().st_mode & 0o777 == 0o700


def test_least_recently_used_entry_is_removed_first(tmp_path, cache, monkeypatch):
    size = 8 * SIZE * SIZE * 3
    monkeypatch.setenv("PHINAS_CACHE_GB", str(2.5 * size / 1e9))
    for seed in range(2):
        load(write_class_folders(tmp_path / str(seed), seed=seed))
    for age, entry in enumerate(list_entries(cache)):
        os.utime(entry / "record.json", (1000 + age, 1000 + age))
    load(tmp_path / "0")
    load(write_class_folders(tmp_path / "2", seed=2))
    for entry in list_entries(cache):
        mark_entry(entry)
    assert [is_from_marked_entry(load(tmp_path / name)) for name in ("0", "2")] == [True, True]
    assert len(list_entries(cache)) == 2
    assert len(list(cache.glob("*.lock"))) == 2


def test_split_larger_than_the_limit_is_not_cached(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("PHINAS_CACHE_GB", "0.000001")
    load(write_class_folders(tmp_path / "pets"))
    assert not list_entries(cache)


def test_unfinished_entry_is_removed_after_a_day(tmp_path, cache):
    for name, age in (("old.tmp", 1e6), ("new.tmp", 0)):
        (cache / name).mkdir(parents=True)
        (cache / name / "pixels.npy").write_bytes(b"part")
        now = (cache / name).stat().st_mtime
        os.utime(cache / name, (now - age, now - age))
    load(write_class_folders(tmp_path / "pets"))
    assert [path.name for path in cache.glob("*.tmp")] == ["new.tmp"]


def test_limit_of_zero_disables_the_cache(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("PHINAS_CACHE_GB", "0")
    load(write_class_folders(tmp_path / "pets"))
    assert not cache.exists()


@pytest.mark.parametrize("text", ["lots", "-1", "nan"])
def test_invalid_limit_is_refused(tmp_path, cache, monkeypatch, text):
    monkeypatch.setenv("PHINAS_CACHE_GB", text)
    with pytest.raises(
        InputError,
        match=f"PHINAS_CACHE_GB: '{text}' is not a size in GB; set it to 0 to disable the cache",
    ):
        load(write_class_folders(tmp_path / "pets"))


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_default_folder_is_in_the_cache_folder_of_the_user(tmp_path, cache, monkeypatch, variable):
    monkeypatch.delenv("PHINAS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "home"))
    load(write_class_folders(tmp_path / "pets"))
    assert list_entries(
        tmp_path
        / "home"
        / ("phinas" if variable == "XDG_CACHE_HOME" else ".cache/phinas")
        / "images"
    )


def test_cache_folder_that_cannot_be_created_gives_one_warning(tmp_path, cache, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "file"))
    write_class_folders(tmp_path / "pets")
    with pytest.warns(RuntimeWarning, match="PHINAS_CACHE: .*file/images cannot be used"):
        assert len(load(tmp_path / "pets").train) == 8
    assert len(load(tmp_path / "pets").train) == 8  # a second warning would be an error


def test_full_disk_gives_a_warning_and_leaves_no_files(tmp_path, cache):
    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # bytes, of any file

    write_class_folders(tmp_path / "pets")
    program = (
        "from phinas.experiment.schema.config import DataSection as D\nfrom "
        "phinas.training.data.image_dataset import load_images as load\n"
    )
    program += f"print(len(load(D(source={str(tmp_path / 'pets')!r})).train))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size,
        check=True,
    )
    assert result.stdout == "8\n"
    assert "cannot be written (" in result.stderr
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_two_processes_at_the_same_time_make_one_entry(tmp_path, cache):
    write_class_folders(tmp_path / "pets", count=100)
    program = (
        "from phinas.experiment.schema.config import DataSection as D\nfrom "
        "phinas.training.data.image_dataset import load_images as load\n"
    )
    program += f"print(load(D(source={str(tmp_path / 'pets')!r})).train.pixels.sum())"
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)
    ]
    outputs = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == {f"{load(tmp_path / 'pets').train.pixels.sum()}\n".encode()}
    assert len(list_entries(cache)) == 1


def test_progress_is_reported_while_images_are_hashed(tmp_path, cache):
    reports: list[tuple[int, int]] = []
    load_images(
        DataSection(source=str(write_class_folders(tmp_path / "pets", count=100))),
        on_progress=lambda *counts: reports.append(counts),
    )
    assert reports[:4] == [(0, 200)] * 4
    assert reports[4][0] == 64


@pytest.mark.slow
def test_plan_reads_the_entry_of_the_dataset_audit(tmp_path, cache, phinas_in_process):
    write_class_folders(tmp_path / "pets", count=10)
    assert phinas_in_process("audit", tmp_path / "pets").returncode == 0
    (entry,) = list_entries(cache)
    last_used = (entry / "record.json").stat().st_mtime_ns
    result = phinas_in_process(
        "plan", "--data", tmp_path / "pets", "--space", "tiny", "--set", "scaling.tolerance=0.1"
    )
    assert result.returncode == 0, result.stderr
    assert list_entries(cache) == [entry]
    assert (entry / "record.json").stat().st_mtime_ns > last_used
