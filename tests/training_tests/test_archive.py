"""Tests of archives of class folders: reading, the cache, and archives that are not safe."""

import gzip
import io
import json
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from phinas.training.data.sources import archive as archive_module
from phinas.training.data.sources.archive import _content_sha256


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Folder of the unpacked archives of an empty cache, which is only used in this test."""
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHINAS_CACHE_GB", "1")
    return tmp_path / "cache" / "archives"


@pytest.fixture
def pets(tmp_path, two_classes):
    return two_classes(tmp_path / "pets")


def pack(folder: Path, path: Path, *, top: str = "") -> Path:
    """Pack a folder. `top` is a folder around it in the archive."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = [(file, f"{top}{file.relative_to(folder)}") for file in files]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file, name in names:
                archive.write(file, name)
    else:
        mode = {"tar": "w", "gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}
        with tarfile.open(path, mode[path.suffix[1:]]) as archive:
            for file, name in names:
                archive.add(file, name)
    return path


def folders_of(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()] if cache.exists() else []


SUFFIXES = [".zip", ".ZIP", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("top", ["", "photos/"])
def test_archive_is_read_like_its_folder(tmp_path, pets, suffix, top, load):
    packed = pack(pets, tmp_path / f"x{suffix.lower()}", top=top)
    packed = packed.rename(tmp_path / f"my pets{suffix}")
    expected, data = load(pets), load(packed)
    assert data.name == "my pets"
    assert data.classes == expected.classes
    assert np.array_equal(data.train.pixels, expected.train.pixels)
    assert np.array_equal(data.train.labels, expected.train.labels)


def test_junk_in_an_archive_is_skipped_and_counted(tmp_path, pets, load):
    (pets / "__MACOSX" / "cat").mkdir(parents=True)
    (pets / "__MACOSX" / "cat" / "._0.png").write_bytes(b"x")
    data = load(pack(pets, tmp_path / "pets.zip"))
    assert data.classes == ("cat", "dog")
    assert data.notes == ("skipped 1 file that is not an image of a class: 1 in __MACOSX folders",)


def test_notes_on_an_archive_name_the_archive(tmp_path, two_classes, load):
    for split in ("train", "val", "test"):
        two_classes(tmp_path / "pets" / split)
    data = load(pack(tmp_path / "pets", tmp_path / "pets.zip"))
    assert data.notes == ("the validation images are those of the split pets.zip/val",)


def test_archive_is_unpacked_once(tmp_path, pets, cache, load, monkeypatch):
    path = pack(pets, tmp_path / "pets.zip")
    load(path)
    assert len(folders_of(cache)) == 1
    monkeypatch.setattr(archive_module, "_unpack", None)
    assert len(load(path).train) == 4


def test_changed_archive_is_unpacked_again(tmp_path, pets, cache, load, save_image):
    load(pack(pets, tmp_path / "pets.zip"))
    save_image(pets / "cat" / "9.png")
    assert len(load(pack(pets, tmp_path / "pets.zip")).train) == 5
    assert len(folders_of(cache)) == 2


def test_without_a_cache_nothing_is_left(tmp_path, pets, load, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(archive_module.tempfile, "tempdir", None)
    (tmp_path / "tmp").mkdir()
    load(pack(pets, tmp_path / "pets.zip"))
    assert not list((tmp_path / "tmp").iterdir())


def test_partial_folder_of_a_killed_process_is_not_used(tmp_path, pets, cache, load):
    path = pack(pets, tmp_path / "pets.zip")
    load(path)
    (folder,) = folders_of(cache)
    (folder / "cat" / "0.png").unlink()
    folder.rename(folder.with_suffix(".tmp"))
    assert len(load(path).train) == 4
    assert folders_of(cache) == [folder]


@pytest.mark.parametrize("change", ["content", "name", "missing", "additional", "owner", "record"])
def test_folder_that_differs_from_what_was_unpacked_is_unpacked_again(
    tmp_path, pets, cache, load, make_foreign, change
):
    path = pack(pets, tmp_path / "pets.zip")
    first = load(path)
    (folder,) = folders_of(cache)
    image, other = folder / "cat" / "0.png", folder / "dog" / "0.png"
    if change == "content":
        image.write_bytes(other.read_bytes())
    elif change == "name":
        image.rename(image.with_name("7.png"))
    elif change == "missing":
        image.unlink()
    elif change == "additional":
        (folder / "cat" / "9.png").write_bytes(other.read_bytes())
    else:
        image.write_bytes(other.read_bytes())
        record = folder.with_suffix(".json")
        content = json.loads(record.read_text()) | {"sha256": _content_sha256(folder)}
        record.write_text(json.dumps(content))
        make_foreign(folder if change == "owner" else record)
    again = load(path)
    assert np.array_equal(np.sort(again.train.pixels, 0), np.sort(first.train.pixels, 0))
    assert folders_of(cache) == [folder]


def test_cache_of_another_user_is_not_used_for_archives(tmp_path, pets, cache, load, make_foreign):
    cache.mkdir(parents=True)
    make_foreign(cache)
    with pytest.warns(RuntimeWarning, match="archives cannot be used .it belongs to another user"):
        assert len(load(pack(pets, tmp_path / "pets.zip")).train) == 4
    assert not list(cache.iterdir())


def test_least_recently_used_folder_is_removed_first(tmp_path, pets, cache, load, monkeypatch):
    path = pack(pets, tmp_path / "old.zip")
    load(path)
    (old,) = folders_of(cache)
    os.utime(old, (1000, 1000))
    size = json.loads(old.with_suffix(".json").read_text())["bytes"]
    monkeypatch.setenv("PHINAS_CACHE_GB", str(1.5 * size / 1e9))
    load(pack(pets, tmp_path / "new.zip", top="photos/"))
    assert len(folders_of(cache)) == 1
    assert not old.exists()


# --- archives that are not safe ------------------------------------------------------------------


def write_zip(path: Path, *names: str, mode: int = 0, size: int = 1) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"0" * size, zipfile.ZIP_DEFLATED)
    return path


def write_tar(path: Path, *names: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, 1 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"0" * info.size))
    return path


NAMES = [
    pytest.param(("../../x.png",), "its path leaves the folder", id="parent"),
    pytest.param(("a/../../x.png",), "its path leaves the folder", id="inner parent"),
    pytest.param(("/tmp/x.png",), "its path leaves the folder", id="absolute"),
    pytest.param(("a\\..\\..\\x.png",), "x.png: its path", id="backslashes"),
    pytest.param(("C:/x.png",), "its path is not portable", id="drive"),
    pytest.param(("a/x.png", "A/y.png"), "in upper and lower case only", id="case of a folder"),
    pytest.param(("a/x.png", "a/X.png"), "in upper and lower case only", id="case of a file"),
    pytest.param(("a/x.png", "a/x.png"), "is in the archive twice", id="twice"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(("names", "reason"), NAMES)
def test_unsafe_names_are_refused(tmp_path, cache, kind, names, reason, load_error):
    write = write_zip if kind == "zip" else write_tar
    message = load_error(write(tmp_path / f"x.{kind}", *names))
    assert reason in message
    assert f"x.{kind}" in message
    assert not folders_of(cache)
    assert not (tmp_path / "x.png").exists()


def test_zip_with_backslashes_is_read(tmp_path, pets, load):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in pets.glob("*/*"):
            info = zipfile.ZipInfo(f"{file.parent.name}/{file.name}")
            info.filename = info.filename.replace("/", "\\")
            archive.writestr(info, file.read_bytes())
    assert load(tmp_path / "x.zip").classes == ("cat", "dog")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, cache, mode, load_error):
    assert "a/x.png is a link or a device, not a file" in load_error(
        write_zip(tmp_path / "x.zip", "a/x.png", mode=mode | 0o644)
    )
    assert not folders_of(cache)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, cache, kind, load_error):
    assert "a/x.png is a link or a device, not a file" in load_error(
        write_tar(tmp_path / "x.tar", "a/x.png", kind=kind, target="/etc/passwd")
    )
    assert not folders_of(cache)


def test_encrypted_zip_is_refused(tmp_path, load_error):
    path = write_zip(tmp_path / "x.zip", "a/x.png")
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))
    assert "a/x.png is encrypted" in load_error(path)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_archive_larger_than_the_cache_is_refused(tmp_path, cache, suffix, load_error, monkeypatch):
    (tmp_path / "big" / "a").mkdir(parents=True)
    (tmp_path / "big" / "a" / "0.bmp").write_bytes(b"\0" * 100_000)
    path = pack(tmp_path / "big", tmp_path / f"x{suffix}")
    monkeypatch.setenv("PHINAS_CACHE_GB", str(99_999 / 1e9))
    assert "PHINAS_CACHE_GB" in load_error(path)
    assert not folders_of(cache)


def test_zip_that_understates_its_size_is_refused(tmp_path, cache, load_error):
    path = write_zip(tmp_path / "x.zip", "a/x.png", size=1000)
    content = bytearray(path.read_bytes())
    for position in (22, content.index(b"PK\x01\x02") + 24):
        content[position : position + 4] = (3).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    assert "x.zip cannot be unpacked" in load_error(path)
    assert not folders_of(cache)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-60], lambda _: b"", lambda _: b"<html></html>" * 9]
)
def test_damaged_archive_is_refused(tmp_path, pets, cache, suffix, damage, load_error):
    path = pack(pets, tmp_path / f"x{suffix.lower()}")
    content = path.read_bytes().rstrip(b"\0")  # the end of a .tar is padding
    path.write_bytes(damage(content))
    assert f"x{suffix.lower()}" in load_error(path)
    assert not folders_of(cache)


def test_archive_with_too_many_files_is_refused(tmp_path, pets, load_error, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_ENTRIES", 3)
    assert "has more than 3 files" in load_error(pack(pets, tmp_path / "pets.zip"))


def test_archive_without_images_is_refused(tmp_path, load_error):
    with zipfile.ZipFile(tmp_path / "x.zip", "w"):
        pass
    assert "x.zip is empty" in load_error(tmp_path / "x.zip")


# --- archives as the world has them --------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "name"), [(".tar.gz", "x.zip"), (".zip", "x.tar")])
def test_content_decides_what_an_archive_is(tmp_path, pets, suffix, name, load):
    packed = pack(pets, tmp_path / f"y{suffix}")
    assert load(packed.rename(tmp_path / name)).classes == ("cat", "dog")


def test_zip_names_in_utf_8_without_the_flag_are_read(tmp_path, pets, load):
    (pets / "cat").rename(pets / "k_tz")
    path = pack(pets, tmp_path / "x.zip")
    path.write_bytes(path.read_bytes().replace(b"k_tz", "käz".encode()))
    assert load(path).classes == ("dog", "käz")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_tar_that_ends_between_two_files_is_refused(tmp_path, pets, cache, suffix, load_error):
    path = pack(pets, tmp_path / f"x{suffix}")
    with tarfile.open(path) as archive:
        end = archive.getmembers()[2].offset
    opener = gzip.open if suffix == ".tar.gz" else open
    with opener(path, "rb") as stream:
        content = stream.read(end)
    with opener(path, "wb") as stream:
        stream.write(content)
    assert "has no end mark, so it is truncated or damaged" in load_error(path)
    assert not folders_of(cache)


def test_archive_in_an_archive_is_refused(tmp_path, pets, cache, load_error):
    inner = pack(pets, tmp_path / "inner.zip")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(inner, "data/inner.zip")
    assert "x.zip holds another archive, inner.zip; unpack it" in load_error(tmp_path / "x.zip")
    assert not folders_of(cache)


def test_archive_of_another_data_set_is_not_kept_in_the_cache(tmp_path, cache, load_error):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("train.zip", b"x")
        archive.writestr("test.zip", b"x")
    assert "has no images but archives (test.zip, train.zip)" in load_error(tmp_path / "x.zip")
    assert not folders_of(cache)


def test_page_that_was_saved_as_an_archive_is_named(tmp_path, load_error):
    (tmp_path / "x.zip").write_text("<html>Sign in</html>")
    assert "x.zip is an HTML page instead of the file itself" in load_error(tmp_path / "x.zip")


def test_archive_of_a_table_and_images_is_read(tmp_path, pets, load):
    for file in list(pets.glob("*/*.png")):
        (pets / "images").mkdir(exist_ok=True)
        file.rename(pets / "images" / f"{file.parent.name}{file.name}")
    rows = [f"{file.name},{file.name[:3]}" for file in sorted((pets / "images").iterdir())]
    (pets / "cat").rmdir()
    (pets / "dog").rmdir()
    (pets / "labels.csv").write_text("\n".join(["image,label", *rows]))
    assert load(pack(pets, tmp_path / "x.zip", top="pets/")).classes == ("cat", "dog")
