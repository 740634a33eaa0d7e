"""Where results live: every path of a run directory is a property of RunDir, and nothing else knows
one.

A directory is a run when it holds `config.yaml`, which is written last at creation. One process at
a time holds a run: a lock on `.lock` that the kernel frees when its holder dies, however it dies.
"""

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from phinas.experiment.errors import InputError, InUseError

_LOCK_FILES = (".lock", "holder.json")


class LockedDirectory:
    """A directory that one process at a time works in.

    It is of its kind (KIND_NAME) once its MARKER_FILE is there. OWN_FILES is what a killed start
    leaves behind; a new start may remove it."""

    KIND_NAME = "directory"
    MARKER_FILE = ""
    OWN_FILES: tuple[str, ...] = ()

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().resolve()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def exists(self) -> bool:
        return (self / self.MARKER_FILE).is_file()

    @property
    def crash_log(self) -> Path:
        return self / "crash.log"

    def require_available(self) -> None:
        """Raises InputError where the path is neither what it should be, nor empty, nor absent."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; --out needs a new or empty directory")
        if self.path.is_dir() and not self.exists:
            names = sorted(entry.name for entry in self.path.iterdir())
            # Without a holder's trace, a folder named `data` is somebody's images, not what a
            # killed start left.
            known = (
                self.OWN_FILES.__contains__ if "holder.json" in names else _LOCK_FILES.__contains__
            )
            foreign_names = [
                name for name in names if not known(name) and not self._is_temporary_file(name)
            ]
            if foreign_names:
                problem = f"holds {foreign_names[0]!r} and is not a {self.KIND_NAME}"
                raise InputError(f"{self.path}: {problem}; --out needs a new or empty directory")

    def remove_leftovers(self) -> None:
        """Remove what a start left that never became one, all but the lock. Only after
        `require_available`, under the lock.
        """
        for entry in self.path.iterdir():
            if entry.name in _LOCK_FILES or not (
                entry.name in self.OWN_FILES or self._is_temporary_file(entry.name)
            ):
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _create_directory(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(
                f"{error.filename}: is a file; --out needs a new or empty directory"
            ) from None

    def _is_temporary_file(self, name: str) -> bool:
        """Whether it is a file of ours that was being written."""
        return any(
            re.fullmatch(rf"{re.escape(own)}\.\d+\.tmp", name)
            for own in (*self.OWN_FILES, self.MARKER_FILE)
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run. Raises InUseError, naming the holder, at once if another process has it."""
        self._create_directory()
        lock = FileLock(self / ".lock", timeout=0)
        holder = self / "holder.json"
        try:
            lock.acquire()
        except Timeout:
            raise InUseError(
                f"{self.path}: is in use by {_describe_holder(holder)}; wait for it or stop it"
            ) from None
        try:
            write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


class RunDir(LockedDirectory):
    """The paths of one run."""

    KIND_NAME = "run"
    MARKER_FILE = "config.yaml"
    OWN_FILES = (
        *_LOCK_FILES,
        "manifest.json",
        "data",
        "study.db",
        "study.db-wal",
        "study.db-shm",
        "study.db-journal",
    )

    @property
    def config(self) -> Path:
        return self / self.MARKER_FILE

    @property
    def manifest(self) -> Path:
        return self / "manifest.json"

    @property
    def study(self) -> Path:
        return self / "study.db"

    @property
    def data(self) -> Path:
        """Prepared images: `train_val` (training and proxy-validation) and `test` lie apart."""
        return self / "data"

    @property
    def checkpoints(self) -> Path:
        """The states of long trainings that are under way; each is gone when its training ends."""
        return self / "checkpoints"

    @property
    def baseline(self) -> Path:
        return self / "search" / "baseline.yaml"

    @property
    def coefficients(self) -> Path:
        return self / "scaling" / "coefficients.yaml"

    @property
    def family(self) -> Path:
        """One spec file a member, `b0.yaml` on, beside its weights (`b0.safetensors`) where it was
        trained.
        """
        return self / "scaling" / "family"

    @property
    def validation(self) -> Path:
        return self / "scaling" / "validation.yaml"

    @property
    def report(self) -> Path:
        return self / "report"

    @property
    def report_page(self) -> Path:
        return self.report / "index.html"

    def require_run(self) -> None:
        """Raises InputError where this is no run directory."""
        if not self.exists and (self.path / "fit.yaml").is_file():
            raise InputError(
                f"{self.path}: is of `phinas fit`, which carries on when it is called as before"
            )
        if not self.exists:
            problem = (
                "is not a run directory (it has no config.yaml)"
                if self.path.exists()
                else "does not exist"
            )
            raise InputError(f"{self.path}: {problem}; start one with `phinas run --out DIR`")

    def create(self, config_text: str, manifest: dict[str, Any]) -> None:
        """Make the directory a run. Raises InputError where it is one already or something else is
        in the way.
        """
        if self.exists:
            raise InputError(
                f"{self.path}: is a run already; resume it, or give --out a new or empty directory"
            )
        self.require_available()
        self._create_directory()
        write_json(self.manifest, manifest)
        write_atomic(self.config, config_text)


def _describe_holder(path: Path) -> str:
    try:
        data = json.loads(path.read_text())
        return f"process {data['pid']} on {data['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write beside `path`, sync, rename over it, sync the directory: a reader sees the old file or
    the new, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_path = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary_path.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary_path.replace(path)
    except BaseException:
        temporary_path.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_json(path: Path, data: object) -> None:
    """Strict JSON (no NaN), written atomically."""
    write_atomic(path, json.dumps(data, indent=2, allow_nan=False) + "\n")
