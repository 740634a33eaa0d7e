"""An archive of a data set (.zip, .tar, .tar.gz and the like), unpacked into the cache.

The name of the unpacked folder is the sha256 of the archive, so an archive is unpacked once. It is
unpacked under a temporary name and then renamed, so a partial folder is never read. A record beside
it has the hash of its files. A folder that differs from its record is unpacked again.

An archive may come from anywhere. An entry that is not a plain file or folder, or whose name could
leave the folder or overwrite another entry, makes the whole archive unusable. The size is counted
while an entry is unpacked, because what an archive says of it may be false.
"""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import import_function
from phinas.experiment.manifest import file_sha256
from phinas.experiment.run_dir import write_json
from phinas.space.cache_directory import (
    CACHE_DIR_VARIABLE,
    CACHE_LIMIT_VARIABLE,
    ForeignCacheError,
    cache_root,
    is_trusted_owner,
    open_cache_folder,
)
from phinas.training.data.archive_entries import (
    SAFE_ADVICE,
    Entry,
    NameCheck,
    open_entries,
)
from phinas.training.data.cache import DEFAULT_LIMIT_GB, cache_limit_bytes
from phinas.training.data.source_dataset import (
    ArrayDataset,
    ReadOptions,
    SourceDataset,
    printable,
)
from phinas.training.data.sources import SOURCES, find_content, find_path_source

MAX_ENTRIES = 5_000_000
_CHUNK_BYTES = 1 << 20
_LOCK_TIMEOUT_SECONDS = 1800.0


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
    try:
        dataset = _read_content(folder, options)
    except InputError as error:
        # What is no data set is not kept, however large the cache is.
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(str(error).replace(str(folder), str(path))) from None
    return replace(
        dataset,
        notes=tuple(note.replace(folder.name, path.name) for note in dataset.notes),
        validation_name=dataset.validation_name.replace(folder.name, path.name),
    )


def _read_content(folder: Path, options: ReadOptions) -> SourceDataset | ArrayDataset:
    """The data set in an unpacked folder.

    Raises:
        InputError: It holds another archive, or is not a data set.
    """
    content = find_content(folder)
    entry = find_path_source(content)
    if entry is None or entry is SOURCES["archive"]:
        raise InputError(
            f"{folder} holds another archive, {content.name}; unpack it and name the folder"
        )
    read: Callable[[Path, ReadOptions], SourceDataset | ArrayDataset] = import_function(entry.path)
    return read(content, options)


def _open_cached(path: Path, resources: ExitStack, *, limit: float) -> Path | None:
    """The unpacked folder in the cache, which is made unless it is there.

    It is locked until the images are decoded, so that it is not evicted. None if the cache cannot
    be used.
    """
    try:
        folder = open_cache_folder("archives") / file_sha256(path)[:40]
        lock = FileLock(folder.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_SECONDS)
        resources.enter_context(lock)
    except ForeignCacheError as error:
        warnings.warn(
            f"{CACHE_DIR_VARIABLE}: {cache_root() / 'archives'} cannot be used ({error}), so "
            "archives are unpacked again each time; set it to a folder that you may write",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    except (OSError, NotImplementedError):
        return None
    if _is_intact(folder):
        os.utime(folder)  # The time of last use, for eviction.
        return folder
    temporary = folder.with_suffix(".tmp")
    for old in (temporary, folder):  # of a process that was killed, and damaged
        shutil.rmtree(old, ignore_errors=True)
    try:
        size = _unpack(path, temporary, limit=limit)
        record = {"bytes": size, "sha256": _content_sha256(temporary)}
        write_json(folder.with_suffix(".json"), record)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _evict(folder, limit=limit)
    return folder


def _is_intact(folder: Path) -> bool:
    """Whether a folder of the cache is this user's and has the files that were unpacked."""
    record = folder.with_suffix(".json")
    if not (is_trusted_owner(folder) and is_trusted_owner(record)):
        return False
    try:
        return bool(json.loads(record.read_bytes())["sha256"] == _content_sha256(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _content_sha256(folder: Path) -> str:
    """A hash of the names and contents of all files of a folder."""
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    for path in sorted(files):
        name = path.relative_to(folder).as_posix()
        digest.update(json.dumps([name, file_sha256(path)]).encode())
    return digest.hexdigest()


def _evict(newest: Path, *, limit: float) -> None:
    """Remove the least recently used folders that no process reads, beyond the cache limit."""
    sizes: dict[Path, int] = {}
    for record in newest.parent.glob("*.json"):
        folder = record.with_suffix("")
        if folder.is_dir():
            sizes[folder] = int(json.loads(record.read_bytes())["bytes"])
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
        folder.with_suffix(".json").unlink(missing_ok=True)


def _unpack(path: Path, folder: Path, *, limit: float) -> int:
    """Unpack the files of an archive, and return their size in bytes."""
    folder.mkdir(parents=True)
    maximum = min(limit, shutil.disk_usage(folder).free)
    names = NameCheck(path)
    written = 0
    try:
        with open_entries(path) as (total, entries):
            if total > maximum:
                raise _too_large(path, maximum)
            for number, entry in enumerate(entries):
                if number >= MAX_ENTRIES:
                    raise InputError(
                        f"{path} has more than {MAX_ENTRIES:,} files; split it into several"
                    )
                target = folder.joinpath(*names.check(entry.name))
                if target.exists():
                    raise InputError(
                        f"{path}: {printable(entry.name)} is in the archive twice; {SAFE_ADVICE}"
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
        f"{path} cannot be unpacked, because it is truncated or damaged ({reason}); copy it again, "
        "or unpack it yourself and name the folder"
    )


def _too_large(path: Path, maximum: float) -> InputError:
    return InputError(
        f"{path}: its files need more than the {maximum / 1e9:,.1f} GB that the cache or the disk "
        f"has for them; unpack it yourself and name the folder, or raise {CACHE_LIMIT_VARIABLE}"
    )


def _write(path: Path, entry: Entry, target: Path, *, maximum: float) -> int:
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
