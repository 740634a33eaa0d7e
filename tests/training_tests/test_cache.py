"""Images are decoded once for a machine; and a cache that is damaged, full or forbidden fails
nothing.
"""

import json
import os
import resource
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

SIDE = 16


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of this test alone: the folder of its entries."""
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHINAS_CACHE_GB", "1")
    return tmp_path / "cache" / "images"


def write(root: Path, *, seed: int = 0, count: int = 4) -> Path:
    noise = np.random.default_rng(seed)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.fromarray(noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(
                root / name / f"{index}.png"
            )
    return root


def load(root: Path, **options: object) -> ImageDataset:
    return load_images(DataSection.model_validate({"source": str(root)} | options))


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir()) if cache.exists() else []


def paint(entry: Path) -> None:
    """Makes all pixels of an entry 7, and its record true of them: who sees sevens has read the
    entry.
    """
    pixels = np.load(entry / "pixels.npy")
    np.save(entry / "pixels.npy", np.full_like(pixels, 7))
    record = json.loads((entry / "record.json").read_text())
    record |= {"sha256": file_sha256(entry / "pixels.npy")}
    (entry / "record.json").write_text(json.dumps(record))


def was_read(data: ImageDataset) -> bool:
    return bool((data.train.pixels == 7).all())


def test_images_are_decoded_once(tmp_path, cache):
    first = load(write(tmp_path / "pets"))
    again = load(tmp_path / "pets")
    assert np.array_equal(first.train.pixels, again.train.pixels)
    paint(*entries(cache))
    assert was_read(load(tmp_path / "pets"))


def test_a_copy_of_the_images_elsewhere_is_the_same_entry(tmp_path, cache):
    load(write(tmp_path / "pets"))
    load(write(tmp_path / "moved" / "animals"))
    assert len(entries(cache)) == 1


def test_both_splits_are_kept(tmp_path, cache):
    write(tmp_path / "train"), write(tmp_path / "test", seed=1)
    load(tmp_path)
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("change", ["content", "name", "side", "one image more"])
def test_other_images_or_another_side_are_another_entry(tmp_path, cache, change):
    root = write(tmp_path / "pets")
    load(root)
    paint(*entries(cache))
    if change == "content":
        Image.new("RGB", (SIDE, SIDE)).save(root / "cat" / "2.png")
    elif change == "name":
        (root / "cat" / "2.png").rename(root / "cat" / "2b.png")
    elif change == "one image more":
        Image.new("RGB", (SIDE, SIDE)).save(root / "cat" / "9.png")
    assert not was_read(load(root, image_size=8 if change == "side" else SIDE))
    assert len(entries(cache)) == 2


def test_bad_images_are_remembered_with_their_reasons(tmp_path, cache):
    (write(tmp_path / "pets") / "cat" / "x.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"cat/x\.png: is empty"):
        load(tmp_path / "pets")
    paint(*entries(cache))
    data = load(tmp_path / "pets", skip_bad_images=True)
    assert was_read(data)
    assert data.skipped_images == ("cat/x.png: is empty (0 bytes)",)
    assert len(data.train) == 8
    with pytest.raises(InputError, match=r"cat/x\.png: is empty"):
        load(tmp_path / "pets")


def test_arrays_are_not_kept(tmp_path, cache):
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 6, 6, 3), np.uint8), y=[0, 1, 0, 1])
    load(tmp_path / "x.npz")
    load(Path("digits"))
    assert not entries(cache)


def test_progress_ends_at_the_number_of_images_though_none_is_decoded(tmp_path, cache):
    load(write(tmp_path / "pets"))
    heard: list[tuple[int, int]] = []
    load_images(
        DataSection(source=str(tmp_path / "pets")), on_progress=lambda *counts: heard.append(counts)
    )
    assert heard[-1] == (8, 8)


@pytest.mark.parametrize("name", ["pixels.npy", "record.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped byte"])
def test_a_damaged_entry_is_made_again(tmp_path, cache, name, damage):
    first = load(write(tmp_path / "pets"))
    path = entries(cache)[0] / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-3] ^= 64
        path.write_bytes(content)
    assert np.array_equal(load(tmp_path / "pets").train.pixels, first.train.pixels)
    paint(*entries(cache))
    assert was_read(load(tmp_path / "pets"))


def test_what_is_used_least_recently_goes_first(tmp_path, cache, monkeypatch):
    size = 8 * SIDE * SIDE * 3
    monkeypatch.setenv("PHINAS_CACHE_GB", str(2.5 * size / 1e9))
    for seed in range(2):
        load(write(tmp_path / str(seed), seed=seed))
    for age, entry in enumerate(entries(cache)):
        os.utime(entry / "record.json", (1000 + age, 1000 + age))
    load(tmp_path / "0")
    load(write(tmp_path / "2", seed=2))
    for entry in entries(cache):
        paint(entry)
    assert [was_read(load(tmp_path / name)) for name in ("0", "2")] == [True, True]
    assert len(entries(cache)) == 2
    assert len(list(cache.glob("*.lock"))) == 2


def test_what_alone_is_beyond_the_limit_is_not_kept(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("PHINAS_CACHE_GB", "0.000001")
    load(write(tmp_path / "pets"))
    assert not entries(cache)


def test_what_was_never_finished_is_removed_after_a_day(tmp_path, cache):
    for name, age in (("old.tmp", 1e6), ("new.tmp", 0)):
        (cache / name).mkdir(parents=True)
        (cache / name / "pixels.npy").write_bytes(b"part")
        now = (cache / name).stat().st_mtime
        os.utime(cache / name, (now - age, now - age))
    load(write(tmp_path / "pets"))
    assert [path.name for path in cache.glob("*.tmp")] == ["new.tmp"]


def test_zero_turns_the_cache_off(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("PHINAS_CACHE_GB", "0")
    load(write(tmp_path / "pets"))
    assert not cache.exists()


@pytest.mark.parametrize("text", ["lots", "-1", "nan"])
def test_a_limit_that_is_no_number_is_refused(tmp_path, cache, monkeypatch, text):
    monkeypatch.setenv("PHINAS_CACHE_GB", text)
    with pytest.raises(
        InputError,
        match=f"PHINAS_CACHE_GB: '{text}' is no number of gigabytes; give 0 for no cache",
    ):
        load(write(tmp_path / "pets"))


@pytest.mark.parametrize("given", ["XDG_CACHE_HOME", "HOME"])
def test_without_a_place_it_is_the_users_cache(tmp_path, cache, monkeypatch, given):
    monkeypatch.delenv("PHINAS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(given, str(tmp_path / "mine"))
    load(write(tmp_path / "pets"))
    assert entries(
        tmp_path / "mine" / ("phinas" if given == "XDG_CACHE_HOME" else ".cache/phinas") / "images"
    )


def test_a_place_that_cannot_be_made_is_said_once_and_fails_nothing(tmp_path, cache, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "file"))
    write(tmp_path / "pets")
    with pytest.warns(RuntimeWarning, match="PHINAS_CACHE: .*file/images cannot be used"):
        assert len(load(tmp_path / "pets").train) == 8
    assert len(load(tmp_path / "pets").train) == 8  # a second warning would be an error here


def test_a_disk_that_is_full_is_said_and_leaves_nothing(tmp_path, cache):
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # a larger file cannot be written

    write(tmp_path / "pets")
    program = (
        "from phinas.experiment.schema.config import DataSection as D\nfrom "
        "phinas.training.data.image_dataset import load_images as load\n"
    )
    program += f"print(len(load(D(source={str(tmp_path / 'pets')!r})).train))"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=fill, check=True
    )
    assert told.stdout == "8\n"
    assert "cannot be written (" in told.stderr
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_two_processes_at_once_make_one_entry_and_the_same_images(tmp_path, cache):
    write(tmp_path / "pets", count=100)
    program = (
        "from phinas.experiment.schema.config import DataSection as D\nfrom "
        "phinas.training.data.image_dataset import load_images as load\n"
    )
    program += f"print(load(D(source={str(tmp_path / 'pets')!r})).train.pixels.sum())"
    two = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)
    ]
    said = {process.communicate(timeout=120)[0] for process in two}
    assert [process.returncode for process in two] == [0, 0]
    assert said == {f"{load(tmp_path / 'pets').train.pixels.sum()}\n".encode()}
    assert len(entries(cache)) == 1


def test_progress_is_told_while_what_is_kept_is_looked_up(tmp_path, cache):
    heard: list[tuple[int, int]] = []
    load_images(
        DataSection(source=str(write(tmp_path / "pets", count=100))),
        on_progress=lambda *counts: heard.append(counts),
    )
    assert heard[:4] == [(0, 200)] * 4
    assert heard[4][0] == 64


def test_a_plan_reads_what_the_census_decoded(tmp_path, cache, phinas_in_process):
    write(tmp_path / "pets", count=10)
    assert phinas_in_process("data", tmp_path / "pets").returncode == 0
    (entry,) = entries(cache)
    used = (entry / "record.json").stat().st_mtime_ns
    planned = phinas_in_process(
        "plan", "--data", tmp_path / "pets", "--space", "tiny", "--set", "scaling.tolerance=0.1"
    )
    assert planned.returncode == 0, planned.stderr
    assert entries(cache) == [entry]
    assert (entry / "record.json").stat().st_mtime_ns > used
