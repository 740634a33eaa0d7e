"""A cache of decoded images, so that `phinas audit`, `plan` and `run` decode a source once.

The name of an entry is the sha256 of all that determines its content: names and bytes of the
encoded images, the stored image size, the resize mode and the versions. So an entry is never out of
date. When the cache exceeds its limit, the least recently used entries are removed.

An entry is used only if it belongs to this user or to root, is the one that was stored under its
name, and its pixels have the stored hash. Otherwise it is written again.

An entry includes which images are bad. Whether they are skipped is decided later. A cache that
cannot be written does not cause an error: images are decoded without it, with one warning.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock

from phinas.experiment.errors import InputError
from phinas.experiment.manifest import file_sha256
from phinas.experiment.run_dir import write_json
from phinas.experiment.schema.run import ResizeMode
from phinas.space.cache_directory import (
    CACHE_DIR_VARIABLE,
    CACHE_LIMIT_VARIABLE,
    cache_root,
    is_trusted_owner,
    open_cache_folder,
)
from phinas.training.data.decoding import CHUNK_IMAGES, Pixels, decode_all
from phinas.training.data.source_dataset import ImageContent, SourceSplit, UnusableImage

# Increase it when the files of an entry change, or the pixels that decoding an image results in.
FORMAT = 3
DEFAULT_LIMIT_GB = 20.0
_LOCK_TIMEOUT_SECONDS = 1800.0  # how long to wait for a process that decodes the same images
_ABANDONED_SECONDS = 86_400.0  # age of an unfinished entry from which its process is gone
DecodedImages = tuple[Pixels, dict[int, UnusableImage]]


def decode_cached(
    split: SourceSplit,
    *,
    image_size: int,
    resize_mode: ResizeMode = "crop",
    on_progress: Callable[[int], None],
) -> DecodedImages:
    """Decode all images of a split like `decode_all`, or read them from the cache.

    Args:
        split: The images.
        image_size: Height and width of the result, in px.
        resize_mode: How images become square.
        on_progress: Called with the number of decoded images.

    Raises:
        InputError: PHINAS_CACHE_GB is not a size.
    """
    decode = partial(
        decode_all, split, image_size=image_size, resize_mode=resize_mode, on_progress=on_progress
    )
    needed, limit = len(split.labels) * image_size * image_size * 3, cache_limit_bytes()
    if not split.is_encoded or not 0 < needed <= limit:
        return decode()
    key = _key(split, [image_size, resize_mode], on_progress=on_progress)
    shape = (len(split.labels), image_size, image_size, 3)
    try:
        entry = open_cache_folder("images") / key
    except OSError as error:
        _warn_unusable(cache_root() / "images", error)
        return decode()
    decoded = _read_entry(entry, shape)
    if decoded is None:
        decoded = _create_entry(entry, shape, decode, limit=limit)
    on_progress(len(split.labels))
    return decoded


def cache_limit_bytes() -> float:
    """The maximum size of the cache of images. 0 disables the cache.

    Raises:
        InputError: PHINAS_CACHE_GB is not a size.
    """
    text = os.environ.get(CACHE_LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise InputError(
            f"{CACHE_LIMIT_VARIABLE}: {text!r} is not a size in GB; set it to 0 to disable the "
            f"cache, or to its maximum size, such as {DEFAULT_LIMIT_GB:g}"
        )
    return limit * 1e9


def _key(split: SourceSplit, settings: list[object], *, on_progress: Callable[[int], None]) -> str:
    """The name of the entry of these images, decoded with these settings."""
    digest = hashlib.sha256(json.dumps([FORMAT, PIL.__version__, *settings]).encode())
    for index, (name, content) in enumerate(split.iter_images()):
        encoded = _content_bytes(content)
        digest.update(json.dumps([name, len(encoded)]).encode())
        digest.update(encoded)
        if index % CHUNK_IMAGES == 0:
            on_progress(0)
    return digest.hexdigest()[:40]


def _content_bytes(content: ImageContent) -> bytes:
    """The encoded image, or the error number if it cannot be read."""
    if isinstance(content, bytes):
        return content
    if not isinstance(content, Path):
        return b"none"
    try:
        return content.read_bytes()
    except OSError as error:
        return str(error.errno).encode()


def _read_entry(entry: Path, shape: tuple[int, ...]) -> DecodedImages | None:
    """The content of an entry, with memory-mapped pixels.

    None if it is absent, damaged, another entry under this name, or another user's.
    """
    record, pixels = entry / "record.json", entry / "pixels.npy"
    if not all(is_trusted_owner(path) for path in (entry, record, pixels)):
        return None
    try:
        metadata = json.loads(record.read_bytes())
        if metadata["key"] != entry.name:
            return None
        if pixels.stat().st_size != metadata["bytes"] or file_sha256(pixels) != metadata["sha256"]:
            return None
        mapped = np.load(pixels, mmap_mode="r", allow_pickle=False)
        bad_images = {int(index): UnusableImage(*bad) for index, bad in metadata["bad"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if mapped.shape != shape or mapped.dtype != np.uint8:
        return None
    try:
        os.utime(record)  # The time of last use, for eviction.
    except OSError:
        pass  # The user may read this cache but not write it.
    return mapped, bad_images


def _create_entry(
    entry: Path, shape: tuple[int, ...], decode: Callable[[], DecodedImages], *, limit: float
) -> DecodedImages:
    """Decode the images and store them.

    The entry is locked. A second process waits and then reads the entry.
    """
    try:
        lock = FileLock(entry.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_SECONDS)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        _warn_unusable(entry.parent, error)
        return decode()
    try:
        decoded = _read_entry(entry, shape)
        if decoded is None:
            decoded = decode()
            _store_entry(entry, *decoded, limit=limit)
        return decoded
    finally:
        lock.release()


def _store_entry(
    entry: Path, pixels: Pixels, bad_images: dict[int, UnusableImage], *, limit: float
) -> None:
    """Write an entry under a temporary name, then rename it."""
    temporary = entry.with_suffix(".tmp")
    try:
        # The entry must leave enough space for the copy of the images in a run directory.
        if shutil.disk_usage(entry.parent).free < 3 * pixels.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for old in (temporary, entry):  # from a process that was killed, and damaged
            shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(mode=0o700)
        path = temporary / "pixels.npy"
        with path.open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        record = {
            "key": entry.name,
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
            "bad": bad_images,
        }
        write_json(temporary / "record.json", record)
        temporary.rename(entry)
        _evict(entry.parent, limit=limit)
    except OSError as error:
        _warn_once(
            f"{CACHE_DIR_VARIABLE}: {entry.parent} cannot be written "
            f"({error.strerror or error}), so images are decoded again each time; free some disk "
            "space, or set it to another folder"
        )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _evict(folder: Path, *, limit: float) -> None:
    """Remove the least recently used entries beyond the limit, and abandoned unfinished ones."""
    entries: list[tuple[float, int, Path]] = []
    for entry in folder.iterdir():
        try:
            if entry.suffix == ".tmp" and time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.is_dir() and entry.suffix != ".tmp":
                entries.append(
                    (
                        (entry / "record.json").stat().st_mtime,
                        (entry / "pixels.npy").stat().st_size,
                        entry,
                    )
                )
        except OSError:
            continue  # Another process removed it.
    total = sum(size for _, size, _ in entries)
    for _, size, entry in sorted(entries):
        if total <= limit:
            break
        shutil.rmtree(entry, ignore_errors=True)
        entry.with_suffix(".lock").unlink(missing_ok=True)
        total -= size


def _warn_unusable(folder: Path, error: Exception) -> None:
    _warn_once(
        f"{CACHE_DIR_VARIABLE}: {folder} cannot be used ({error}), so images are decoded again "
        "each time; set it to a folder that you may write"
    )


@cache
def _warn_once(text: str) -> None:
    """Warn once per process. The cache of this function remembers the text."""
    warnings.warn(text, RuntimeWarning, stacklevel=2)
