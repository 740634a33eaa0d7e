"""The run directory. Every path in it is a property of RunDir, and other modules use only these.

A directory is a run if it contains `config.yaml`, which is written last at creation. One process at
a time locks a run. The lock is on the file `.lock`, and the kernel releases it when the process
ends. A locked directory that is removed or replaced by another one is an error, and nothing more is
written to it.
"""

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from filelock import FileLock, Timeout

from phinas.experiment.errors import DiskError, InputError, InUseError

_LOCK_FILES = (".lock", "holder.json")
_TEMPORARY_NAME = re.compile(r".+\.\d+\.tmp")


class LockedDirectory:
    """A directory in which one process at a time works.

    Attributes:
        KIND_NAME: The name of this kind of directory in messages.
        MARKER_FILE: The file that marks a directory as one of this kind.
        STARTUP_FILES: The files that exist before the marker. An interrupted start leaves them, and
            a new start may remove them.
    """

    KIND_NAME = "directory"
    MARKER_FILE = ""
    STARTUP_FILES: tuple[str, ...] = ()

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().resolve()
        self._locked_id: tuple[int, int] | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def exists(self) -> bool:
        return (self / self.MARKER_FILE).is_file()

    def require_available(self) -> None:
        """Raises InputError if the path is a file, or a directory with other files."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; --out needs a new or empty directory")
        if self.path.is_dir() and not self.exists:
            names = sorted(entry.name for entry in self.path.iterdir())
            # Without holder.json, a folder named `data` contains a user's images and was not left
            # by an interrupted start.
            removable = self.STARTUP_FILES if "holder.json" in names else _LOCK_FILES
            foreign_names = [
                name
                for name in names
                if name not in removable and not self._is_temporary_file(name)
            ]
            if foreign_names:
                problem = f"contains {foreign_names[0]!r} and is not a {self.KIND_NAME}"
                raise InputError(f"{self.path}: {problem}; --out needs a new or empty directory")

    def remove_leftovers(self) -> None:
        """Remove what an interrupted start left, except for the lock.

        Call it under the lock, after `require_available`.
        """
        for entry in self.path.iterdir():
            if entry.name in _LOCK_FILES or not (
                entry.name in self.STARTUP_FILES or self._is_temporary_file(entry.name)
            ):
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    @property
    def missing_directories(self) -> tuple[Path, ...]:
        """This directory and its parents that do not exist, from the inside out."""
        return tuple(takewhile(lambda path: not path.exists(), (self.path, *self.path.parents)))

    def remove_created(self, directories: Sequence[Path]) -> None:
        """Remove what a start that failed has made: this directory, and its parents if empty.

        Args:
            directories: The `missing_directories` from before the start.
        """
        if not directories:
            return
        self._locked_id = None  # `locked` expects it to be gone
        shutil.rmtree(self.path, ignore_errors=True)
        for path in directories[1:]:
            # OSError, because another process may have written there
            with suppress(OSError):
                path.rmdir()

    def remove_lock(self) -> None:
        """Remove the files of the lock, after a start that left nothing else."""
        for name in _LOCK_FILES:
            (self / name).unlink(missing_ok=True)

    def _create_directory(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(
                f"{error.filename}: is a file; --out needs a new or empty directory"
            ) from None
        except OSError as error:
            raise DiskError(
                f"{self.path}: cannot be created ({error.strerror}); correct the permissions, or "
                "use another --out"
            ) from None

    def _is_temporary_file(self, name: str) -> bool:
        """Whether it is the temporary copy of a file of phinas, left by an interrupted process."""
        return any(
            re.fullmatch(rf"{re.escape(file_name)}\.\d+\.tmp", name)
            for file_name in (*self.STARTUP_FILES, self.MARKER_FILE)
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory.

        Raises:
            InUseError: Another process has locked it. The message has its number and its host.
        """
        self._create_directory()
        lock = FileLock(self / ".lock", timeout=0)
        holder = self / "holder.json"
        try:
            lock.acquire()
        except Timeout:
            raise InUseError(
                f"{self.path}: is in use by {_describe_holder(holder)}; wait for it or stop it"
            ) from None
        except OSError as error:
            raise DiskError(_describe_lock_problem(self / ".lock", error)) from None
        self._locked_id = file_id(self.path)
        try:
            write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
            yield
        except Exception:
            # Most other errors follow from a directory that is gone.
            self.require_unchanged()
            raise
        finally:
            if file_id(self.path) == self._locked_id:
                with suppress(OSError):  # a directory that has become read-only
                    holder.unlink()
            self._locked_id = None
            lock.release()

    def find_holder(self) -> str:
        """The process that has locked the directory, in words; "" if none has. Nothing is written.

        A process that was killed leaves holder.json, but not the lock.
        """
        lock_file, holder = self / ".lock", self / "holder.json"
        if not (holder.exists() and lock_file.exists()):
            return ""
        try:
            with FileLock(lock_file, timeout=0):
                return ""
        except Timeout:
            return _describe_holder(holder)
        except OSError:  # a directory that this user cannot write
            return ""

    @property
    def written_folders(self) -> tuple[Path, ...]:
        """Folders that jobs write to. They may be missing."""
        return ()

    def require_unchanged(self) -> None:
        """Check that the locked directory is still there and can be written.

        Raises:
            DiskError: It was removed or replaced since it was locked, or is not writable.
        """
        if self._locked_id is None:
            return
        current_id = file_id(self.path)
        if current_id != self._locked_id:
            problem = "was removed" if current_id is None else "was replaced by another directory"
            raise DiskError(
                f"{self.path}: {problem} while phinas used it; put it back, then resume it"
            )
        for folder in (self.path, *self.written_folders):
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                raise DiskError(
                    f"{folder}: cannot be written any more; correct the permissions or the file "
                    "system, then resume it"
                )

    def remove_temporary_files(self) -> None:
        """Remove the temporary files of `write_atomic` that a killed process left.

        Call it under the lock.
        """
        for path in self.path.rglob("*.tmp"):
            if _TEMPORARY_NAME.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


class RunDir(LockedDirectory):
    """The paths of one run."""

    KIND_NAME = "run"
    MARKER_FILE = "config.yaml"
    STARTUP_FILES = (
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
        """Prepared images: `train_val` (training and validation) and `test` are separate."""
        return self / "data"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of trainings; each is removed when its training ends."""
        return self / "checkpoints"

    @property
    def paused(self) -> Path:
        """States of paused trainings; each is removed when its training ends."""
        return self / "paused"

    @property
    def written_folders(self) -> tuple[Path, ...]:
        return (self.checkpoints, self.paused, self.family)

    @property
    def baseline(self) -> Path:
        return self / "search" / "baseline.yaml"

    @property
    def proxy_check(self) -> Path:
        return self / "search" / "proxy_check.yaml"

    @property
    def earlier_searches(self) -> Path:
        return self / "search" / "earlier_searches.json"

    def learning_rates(self, stage: str) -> Path:
        """The check of the learning rate of a stage: finalists, scaling or validation."""
        return self / "learning_rates" / f"{stage}.yaml"

    @property
    def coefficients(self) -> Path:
        return self / "scaling" / "coefficients.yaml"

    @property
    def family(self) -> Path:
        """One spec file for each member (`b0.yaml`), and its weights (`b0.safetensors`) where it
        was trained.
        """
        return self / "scaling" / "family"

    @property
    def validation(self) -> Path:
        return self / "scaling" / "validation.yaml"

    @property
    def pretrained_reference(self) -> Path:
        """The fit of the published network that the family is compared with."""
        return self / "pretrained_reference"

    @property
    def report(self) -> Path:
        return self / "report"

    @property
    def redacted_report(self) -> Path:
        """The report to give away, which is written on request."""
        return self / "report_redacted"

    @property
    def report_page(self) -> Path:
        return self.report / "index.html"

    def require_run(self) -> None:
        """Raises InputError if this is not a run directory."""
        if not self.exists and (self.path / "fit.yaml").is_file():
            raise InputError(
                f"{self.path}: is a directory of `phinas fit`; resume it with the same "
                "`phinas fit` command"
            )
        if not self.exists:
            problem = (
                "is not a run directory (it has no config.yaml)"
                if self.path.exists()
                else "does not exist"
            )
            raise InputError(f"{self.path}: {problem}; start one with `phinas run --out DIR`")

    def require_new(self) -> None:
        """Create the directory for a new run.

        Raises:
            InputError: It is a run already, or contains other files.
        """
        if self.exists:
            raise InputError(
                f"{self.path}: is a run already; resume it, or give --out a new or empty directory"
            )
        self.require_available()
        self._create_directory()


def _describe_holder(path: Path) -> str:
    try:
        data = json.loads(path.read_text())
        return f"process {data['pid']} on {data['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def _describe_lock_problem(path: Path, error: OSError) -> str:
    if path.is_symlink():
        return f"{path}: is a symbolic link and cannot be the lock; remove it"
    problem = error.strerror or error
    return f"{path}: cannot be locked ({problem}); correct the permissions, or use another --out"


def file_id(path: Path) -> tuple[int, int] | None:
    """The device and the inode of a file or directory. None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file atomically: a reader gets either the old content or the new one.

    The content is written to a temporary file next to it, which is synced and renamed. Then the
    directory is synced.
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
    """Write strict JSON (without NaN) atomically."""
    write_atomic(path, json.dumps(data, indent=2, allow_nan=False) + "\n")
