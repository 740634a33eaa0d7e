"""Images that were decoded on this machine before, so that `phinas data`, `plan` and `run` decode
one source once.

The one decision to know: an entry is named by the sha256 of all that decides it (names and bytes of
the encoded images, the stored side, versions), so none is ever stale; what was used least recently
goes when they grow too large. What is a bad
image is part of it: whether bad ones are left out is decided later. A cache is no reason to fail:
where it can't be written, images are decoded as if there were none, and that is said once.
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
from functools import cache
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock

from phinas.experiment.errors import InputError
from phinas.experiment.manifest import file_sha256
from phinas.experiment.run_dir import write_json
from phinas.training.data.decoding import (
    CHUNK_IMAGES,
    ImageContent,
    Pixels,
    SourceSplit,
    decode_all,
)

FORMAT = 1  # of entries and of what decoding makes of an image: raise it where either changes
CACHE_DIR_VARIABLE, CACHE_LIMIT_VARIABLE = "PHINAS_CACHE", "PHINAS_CACHE_GB"
DEFAULT_LIMIT_GB = 20.0
_LOCK_TIMEOUT_SECONDS = 1800.0  # for another process that decodes the same images
_ABANDONED_SECONDS = 86_400.0  # after which what is being written has been given up
DecodedImages = tuple[Pixels, dict[int, str]]


def decode_cached(
    split: SourceSplit, *, image_size: int, on_progress: Callable[[int], None]
) -> DecodedImages:
    """What decoding.decode_all gives, from the cache where it is there. Raises InputError for a
    limit that is no number.
    """
    needed, limit = len(split.labels) * image_size * image_size * 3, _limit_bytes()
    if not split.is_encoded or not 0 < needed <= limit:
        return decode_all(split, image_size=image_size, on_progress=on_progress)
    entry = cache_root() / "images" / _key(split, image_size=image_size, on_progress=on_progress)
    decoded = _read_entry(entry, split, image_size=image_size)
    if decoded is None:
        decoded = _create_entry(
            entry, split, image_size=image_size, on_progress=on_progress, limit=limit
        )
    on_progress(len(split.labels))
    return decoded


def cache_root() -> Path:
    """Where this machine keeps what phinas can make or fetch again."""
    configured = os.environ.get(CACHE_DIR_VARIABLE)
    try:
        root = Path(
            configured or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "phinas"
        ).expanduser()
    except RuntimeError:
        root = Path(configured or "phinas")  # of somebody, or of a user without a home
    return root.absolute()


def _limit_bytes() -> float:
    text = os.environ.get(CACHE_LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise InputError(
            f"{CACHE_LIMIT_VARIABLE}: {text!r} is no number of gigabytes; give 0 for no cache, or "
            "how large it "
            "may grow"
        )
    return limit * 1e9


def _key(split: SourceSplit, *, image_size: int, on_progress: Callable[[int], None]) -> str:
    """Of an image that can't be read, the reason takes the place of its bytes."""
    digest = hashlib.sha256(json.dumps([FORMAT, PIL.__version__, image_size]).encode())
    for index, (name, content) in enumerate(split.iter_images()):
        encoded = _content_bytes(content)
        digest.update(json.dumps([name, len(encoded)]).encode())
        digest.update(encoded)
        if index % CHUNK_IMAGES == 0:
            on_progress(0)
    return digest.hexdigest()[:40]


def _content_bytes(content: ImageContent) -> bytes:
    try:
        return (
            content.read_bytes()
            if isinstance(content, Path)
            else content
            if isinstance(content, bytes)
            else b"none"
        )
    except OSError as error:
        return str(error.errno).encode()


def _read_entry(entry: Path, split: SourceSplit, *, image_size: int) -> DecodedImages | None:
    """A whole entry, its pixels a read-only map, or None."""
    record, pixels = entry / "record.json", entry / "pixels.npy"
    try:
        metadata = json.loads(record.read_bytes())
        if pixels.stat().st_size != metadata["bytes"] or file_sha256(pixels) != metadata["sha256"]:
            return None
        mapped = np.load(pixels, mmap_mode="r", allow_pickle=False)
        bad_images = {int(index): str(reason) for index, reason in metadata["bad"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if mapped.shape != (len(split.labels), image_size, image_size, 3) or mapped.dtype != np.uint8:
        return None
    try:
        os.utime(record)  # used now
    except OSError:
        pass  # in a cache that others fill
    return mapped, bad_images


def _create_entry(
    entry: Path,
    split: SourceSplit,
    *,
    image_size: int,
    on_progress: Callable[[int], None],
    limit: float,
) -> DecodedImages:
    """Decodes while holding the entry's lock, so that of two processes one decodes, and the other
    waits and reads.
    """
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(entry.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_SECONDS)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        _warn_once(
            f"{CACHE_DIR_VARIABLE}: {entry.parent} cannot be used ({error}); images are decoded "
            "anew each time"
        )
        return decode_all(split, image_size=image_size, on_progress=on_progress)
    try:
        decoded = _read_entry(entry, split, image_size=image_size)
        if decoded is None:
            decoded = decode_all(split, image_size=image_size, on_progress=on_progress)
            _store_entry(entry, *decoded, limit=limit)
        return decoded
    finally:
        lock.release()


def _store_entry(entry: Path, pixels: Pixels, bad_images: dict[int, str], *, limit: float) -> None:
    """Writes an entry aside and renames it. Leaves room for the copy that a run makes of the
    images.
    """
    temporary = entry.with_suffix(".tmp")
    try:
        if shutil.disk_usage(entry.parent).free < 3 * pixels.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for old in (temporary, entry):
            shutil.rmtree(old, ignore_errors=True)  # what was killed, and what is damaged
        temporary.mkdir()
        path = temporary / "pixels.npy"
        with path.open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        record = {"bytes": path.stat().st_size, "sha256": file_sha256(path), "bad": bad_images}
        write_json(temporary / "record.json", record)
        temporary.rename(entry)
        _evict(entry.parent, limit=limit)
    except OSError as error:
        _warn_once(
            f"{CACHE_DIR_VARIABLE}: {entry.parent} cannot be written ({error.strerror or error}); "
            "images are "
            "decoded anew each time"
        )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _evict(folder: Path, *, limit: float) -> None:
    """Removes what was used least recently, until the rest is within the limit; and what was never
    finished.
    """
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
            continue  # another process removed it
    total = sum(size for _, size, _ in entries)
    for _, size, entry in sorted(entries):
        if total <= limit:
            break
        shutil.rmtree(entry, ignore_errors=True)
        entry.with_suffix(".lock").unlink(missing_ok=True)
        total -= size


@cache
def _warn_once(text: str) -> None:
    """Once in a process."""
    warnings.warn(text, RuntimeWarning, stacklevel=2)
