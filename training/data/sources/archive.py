"""An archive of a data set (.zip, .tar, .tar.gz and the like), unpacked into the cache.

The name of the unpacked folder is the sha256 of the archive, so an archive is unpacked once. It is
unpacked under a temporary name and then renamed, so a partial folder is never read.

An archive may come from anywhere. An entry that is not a plain file or folder, or whose name could
leave the folder or overwrite another entry, makes the whole archive unusable. The size is counted
while an entry is unpacked, because what an archive says of it may be false.
"""

import os
import shutil
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import import_function
from phinas.experiment.manifest import file_sha256
from phinas.training.data.cache import (
    CACHE_LIMIT_VARIABLE,
    DEFAULT_LIMIT_GB,
    cache_limit_bytes,
    cache_root,
)
from phinas.training.data.source_dataset import (
    ArrayDataset,
    ReadOptions,
    SourceDataset,
    printable,
)
from phinas.training.data.sources import SOURCES, find_path_source

MAX_ENTRIES = 5_000_000
_CHUNK_BYTES = 1 << 20
_LOCK_TIMEOUT_SECONDS = 1800.0
_NOT_PLAIN = "is a link or a device, not a file"
_SAFE = "use an archive of folders and plain files"


@dataclass(frozen=True)
class _Entry:
    """A file of an archive.

    Attributes:
        name: Its path in the archive.
        size: Its size in bytes, as the archive says.
        open: Opens its content.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def read_archive(path: Path, options: ReadOptions) -> SourceDataset | ArrayDataset:
    """Unpack an archive, unless it is in the cache, and read the folder in it.

    Raises:
        InputError: The archive is damaged, unsafe or too large, or its content is not a data set.
    """
    limit = cache_limit_bytes()
    folder = _open_cached(path, options.resources, limit=limit) if limit > 0 else None
    if folder is None:
        # Without a cache, the folder is removed when the images are decoded.
        temporary = tempfile.TemporaryDirectory(prefix="phinas-archive-")
        folder = Path(options.resources.enter_context(temporary)) / "content"
        _unpack(path, folder, limit=limit or DEFAULT_LIMIT_GB * 1e9)
    entry = find_path_source(folder)
    if entry is None or entry is SOURCES["archive"]:
        raise InputError(f"{path}: has no images; use an archive of class folders")
    read_folder = import_function(entry.path)
    try:
        dataset: SourceDataset | ArrayDataset = read_folder(folder, options)
    except InputError as error:
        raise InputError(str(error).replace(str(folder), str(path))) from None
    return replace(
        dataset,
        notes=tuple(note.replace(folder.name, path.name) for note in dataset.notes),
        validation_name=dataset.validation_name.replace(folder.name, path.name),
    )


def _open_cached(path: Path, resources: ExitStack, *, limit: float) -> Path | None:
    """The unpacked folder in the cache, which is made unless it is there.

    It is locked until the images are decoded, so that it is not evicted. None if the cache cannot
    be used.
    """
    folder = cache_root() / "archives" / file_sha256(path)[:40]
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_SECONDS)
        resources.enter_context(lock)
    except (OSError, NotImplementedError):
        return None
    if folder.exists():
        os.utime(folder)  # The time of last use, for eviction.
        return folder
    temporary = folder.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        size = _unpack(path, temporary, limit=limit)
        folder.with_suffix(".size").write_text(f"{size}", encoding="ascii")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _evict(folder, limit=limit)
    return folder


def _evict(newest: Path, *, limit: float) -> None:
    """Remove the least recently used folders that no process reads, beyond the cache limit."""
    sizes: dict[Path, int] = {}
    for record in newest.parent.glob("*.size"):
        folder = record.with_suffix("")
        if folder.is_dir():
            sizes[folder] = int(record.read_text(encoding="ascii") or 0)
    total = sum(sizes.values())
    for folder in sorted(sizes, key=lambda folder: folder.stat().st_mtime):
        if total <= limit or folder == newest:
            continue
        try:
            with FileLock(folder.with_suffix(".lock"), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except TimeoutError:
            continue
        total -= sizes[folder]
        folder.with_suffix(".size").unlink(missing_ok=True)


def _unpack(path: Path, folder: Path, *, limit: float) -> int:
    """Unpack the files of an archive, and return their size in bytes."""
    folder.mkdir(parents=True)
    maximum = min(limit, shutil.disk_usage(folder).free)
    names = _NameCheck(path)
    written = 0
    try:
        with _open_entries(path, maximum) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_ENTRIES:
                    raise InputError(
                        f"{path}: has more than {MAX_ENTRIES:,} files; split it into several"
                    )
                target = folder.joinpath(*names.check(entry.name))
                if target.exists():
                    raise InputError(
                        f"{path}: {printable(entry.name)}: is in the archive twice; {_SAFE}"
                    )
                written += _write(path, entry, target, maximum=maximum - written)
    except InputError:
        raise
    except Exception as error:  # zipfile, tarfile, zlib and lzma have exceptions of their own.
        raise _damaged(path, error) from None
    return written


def _damaged(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(
        f"{path}: cannot be unpacked ({type(error).__name__}: {reason}); copy it again, or unpack "
        "it yourself and name the folder"
    )


def _too_large(path: Path, maximum: float) -> InputError:
    return InputError(
        f"{path}: its files need more than the {maximum / 1e9:,.1f} GB that the cache or the disk "
        f"has for them; unpack it yourself and name the folder, or raise {CACHE_LIMIT_VARIABLE}"
    )


def _write(path: Path, entry: _Entry, target: Path, *, maximum: float) -> int:
    """Write one file, and return its size."""
    if entry.size > maximum:
        raise _too_large(path, maximum)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    size = 0
    with entry.open() as stream, target.open("xb") as file:
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > maximum:
                raise _too_large(path, maximum)
            file.write(chunk)
    return size


class _NameCheck:
    """Checks the names of the entries of an archive, one after another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spellings: dict[str, str] = {}

    def check(self, name: str) -> tuple[str, ...]:
        """The parts of a name.

        Raises:
            InputError: The name is absolute, leaves the folder, or is that of an earlier entry.
        """
        posix = PurePosixPath(name)
        parts = tuple(part for part in posix.parts if part != ".")
        if posix.is_absolute() or ".." in parts or not parts:
            raise self._refuse(name, "its path leaves the folder")
        if "\\" in name or "\0" in name or (len(parts[0]) > 1 and parts[0][1] == ":"):
            raise self._refuse(name, "its path is not portable")
        for end in range(1, len(parts) + 1):
            spelling = "/".join(parts[:end])
            key = unicodedata.normalize("NFC", spelling).casefold()
            earlier = self._spellings.setdefault(key, spelling)
            if earlier != spelling:
                raise self._refuse(
                    name, f"it differs from {printable(earlier)} in upper and lower case only"
                )
        return parts

    def _refuse(self, name: str, reason: str) -> InputError:
        return InputError(f"{self._path}: {printable(name)}: {reason}; {_SAFE}")


@contextmanager
def _open_entries(path: Path, maximum: float) -> Iterator[Iterator[_Entry]]:
    if SOURCES["archive"].suffix_of(path).lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > maximum:
                raise _too_large(path, maximum)
            yield _zip_entries(path, archive)
    else:
        with tarfile.open(path, "r:*") as tar:
            yield _tar_entries(path, tar)


def _zip_entries(path: Path, archive: zipfile.ZipFile) -> Iterator[_Entry]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{path}: {printable(info.filename)}: {_NOT_PLAIN}; {_SAFE}")
        if info.flag_bits & 1:
            raise InputError(
                f"{path}: {printable(info.filename)}: is encrypted; unpack the archive yourself "
                "and name the folder"
            )
        if not info.is_dir():
            # Some programs on Windows write backslashes.
            name = info.orig_filename.replace("\\", "/")
            yield _Entry(name, info.file_size, partial(archive.open, info))


def _tar_entries(path: Path, tar: tarfile.TarFile) -> Iterator[_Entry]:
    for member in tar:
        if not (member.isreg() or member.isdir()):
            raise InputError(f"{path}: {printable(member.name)}: {_NOT_PLAIN}; {_SAFE}")
        if member.isreg():
            yield _Entry(member.name, member.size, partial(_extract, tar, member))


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    assert stream is not None  # it is a regular file
    return stream
