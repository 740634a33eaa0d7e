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
from phinas.training.data.decoding import CHUNK, Content, Part, Pixels, decode_all

FORMAT = 1  # of entries and of what decoding makes of an image: raise it where either changes
PLACE, LIMIT = "PHINAS_CACHE", "PHINAS_CACHE_GB"
LIMIT_GB = 20.0
_PATIENCE_SECONDS = 1800.0  # for another process that decodes the same images
_LEFT_SECONDS = 86_400.0  # after which what is being written has been given up
Decoded = tuple[Pixels, dict[int, str]]


def decode_once(part: Part, *, side: int, notify: Callable[[int], None]) -> Decoded:
    """What decoding.decode_all gives, from the cache where it is there. Raises InputError for a
    limit that is no number.
    """
    needed, limit = len(part.labels) * side * side * 3, _limit_bytes()
    if not part.encoded or not 0 < needed <= limit:
        return decode_all(part, side=side, notify=notify)
    entry = cache_root() / "images" / _key(part, side=side, notify=notify)
    found = _read(entry, part, side=side)
    if found is None:
        found = _make(entry, part, side=side, notify=notify, limit=limit)
    notify(len(part.labels))
    return found


def cache_root() -> Path:
    """Where this machine keeps what phinas can make or fetch again."""
    given = os.environ.get(PLACE)
    try:
        root = Path(
            given or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "phinas"
        ).expanduser()
    except RuntimeError:
        root = Path(given or "phinas")  # of somebody, or of a user without a home
    return root.absolute()


def _limit_bytes() -> float:
    text = os.environ.get(LIMIT) or str(LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise InputError(
            f"{LIMIT}: {text!r} is no number of gigabytes; give 0 for no cache, or how large it "
            "may grow"
        )
    return limit * 1e9


def _key(part: Part, *, side: int, notify: Callable[[int], None]) -> str:
    """Of an image that can't be read, the reason takes the place of its bytes."""
    digest = hashlib.sha256(json.dumps([FORMAT, PIL.__version__, side]).encode())
    for index, (name, content) in enumerate(part.read()):
        encoded = _bytes_of(content)
        digest.update(json.dumps([name, len(encoded)]).encode())
        digest.update(encoded)
        if index % CHUNK == 0:
            notify(0)
    return digest.hexdigest()[:40]


def _bytes_of(content: Content) -> bytes:
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


def _read(entry: Path, part: Part, *, side: int) -> Decoded | None:
    """A whole entry, its pixels a read-only map, or None."""
    record, pixels = entry / "record.json", entry / "pixels.npy"
    try:
        facts = json.loads(record.read_bytes())
        if pixels.stat().st_size != facts["bytes"] or file_sha256(pixels) != facts["sha256"]:
            return None
        mapped = np.load(pixels, mmap_mode="r", allow_pickle=False)
        bad = {int(index): str(reason) for index, reason in facts["bad"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if mapped.shape != (len(part.labels), side, side, 3) or mapped.dtype != np.uint8:
        return None
    try:
        os.utime(record)  # used now
    except OSError:
        pass  # in a cache that others fill
    return mapped, bad


def _make(
    entry: Path, part: Part, *, side: int, notify: Callable[[int], None], limit: float
) -> Decoded:
    """Decodes while holding the entry's lock, so that of two processes one decodes, and the other
    waits and reads.
    """
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(entry.with_suffix(".lock"), timeout=_PATIENCE_SECONDS)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        _say(f"{PLACE}: {entry.parent} cannot be used ({error}); images are decoded anew each time")
        return decode_all(part, side=side, notify=notify)
    try:
        found = _read(entry, part, side=side)
        if found is None:
            found = decode_all(part, side=side, notify=notify)
            _keep(entry, *found, limit=limit)
        return found
    finally:
        lock.release()


def _keep(entry: Path, pixels: Pixels, bad: dict[int, str], *, limit: float) -> None:
    """Writes an entry aside and renames it. Leaves room for the copy that a run makes of the
    images.
    """
    aside = entry.with_suffix(".tmp")
    try:
        if shutil.disk_usage(entry.parent).free < 3 * pixels.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for old in (aside, entry):
            shutil.rmtree(old, ignore_errors=True)  # what was killed, and what is damaged
        aside.mkdir()
        path = aside / "pixels.npy"
        with path.open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        facts = {"bytes": path.stat().st_size, "sha256": file_sha256(path), "bad": bad}
        write_json(aside / "record.json", facts)
        aside.rename(entry)
        _trim(entry.parent, limit=limit)
    except OSError as error:
        _say(
            f"{PLACE}: {entry.parent} cannot be written ({error.strerror or error}); images are "
            "decoded anew each time"
        )
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _trim(folder: Path, *, limit: float) -> None:
    """Removes what was used least recently, until the rest is within the limit; and what was never
    finished.
    """
    used: list[tuple[float, int, Path]] = []
    for entry in folder.iterdir():
        try:
            if entry.suffix == ".tmp" and time.time() - entry.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.is_dir() and entry.suffix != ".tmp":
                used.append(
                    (
                        (entry / "record.json").stat().st_mtime,
                        (entry / "pixels.npy").stat().st_size,
                        entry,
                    )
                )
        except OSError:
            continue  # another process removed it
    total = sum(size for _, size, _ in used)
    for _, size, entry in sorted(used):
        if total <= limit:
            break
        shutil.rmtree(entry, ignore_errors=True)
        entry.with_suffix(".lock").unlink(missing_ok=True)
        total -= size


@cache
def _say(text: str) -> None:
    """Once in a process."""
    warnings.warn(text, RuntimeWarning, stacklevel=2)
