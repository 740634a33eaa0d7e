"""The manifest of a run: create, read and update it. Also creates a run directory."""

import hashlib
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from phinas.experiment.artifacts.artifact import OtherVersionError
from phinas.experiment.artifacts.manifest import (
    AutoPrecision,
    BuilderDescription,
    DatasetDescription,
    EvaluatorDescription,
    FileRecord,
    Machine,
    Manifest,
)
from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.run_dir import RunDir, write_atomic
from phinas.experiment.storage.database_url import hide_passwords
from phinas.experiment.versions import installed_version, version

_PACKAGES = ("phinas", "torch", "optuna", "numpy", "scikit-learn", "pandas", "matplotlib")


def describe_machine() -> Machine:
    """The hardware and software of this machine."""
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    )
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        memory_bytes=memory,
        python=platform.python_version(),
        packages={name: installed_version(name) for name in _PACKAGES},
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the source tree of this package. None if it is not in a git repository."""
    source_root = Path(__file__).resolve().parent.parent
    if not (source_root / ".git").exists():
        return None
    result = subprocess.run(
        ["git", "-C", str(source_root), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or None


def new_manifest(*, seed: int, goal: Sequence[str] = ()) -> Manifest:
    """The manifest of a run that starts now.

    Args:
        seed: The random seed of the run.
        goal: The stages to run, in order.
    """
    return Manifest(
        id=uuid.uuid4().hex,
        phinas=version(),
        commit=_commit(),
        command=("phinas", *map(hide_passwords, sys.argv[1:])),
        seed=seed,
        machine=describe_machine(),
        goal=tuple(goal),
    )


def create_run(run: RunDir, config_text: str, manifest: Manifest) -> None:
    """Create a run directory with its manifest and its configuration.

    Raises:
        InputError: It is a run already, or contains other files.
    """
    run.require_new()
    manifest.write(run.manifest)
    write_atomic(run.config, config_text)


def read_manifest(run: RunDir) -> Manifest:
    """The manifest of a run.

    Raises:
        InputError: The file is of another version.
        StorageError: The file is missing or damaged.
    """
    try:
        return Manifest.read(run.manifest)
    except OtherVersionError:
        raise
    except InputError as error:
        raise StorageError(str(error)) from None


def update_manifest(
    run: RunDir,
    *,
    goal: Sequence[str] | None = None,
    workers: int | None = None,
    executor: str | None = None,
    auto_precision: AutoPrecision | None = None,
    evaluator: EvaluatorDescription | None = None,
    data: DatasetDescription | None = None,
    seconds: float | None = None,
) -> None:
    """Replace the fields of the manifest that are not None."""
    changes = {
        "goal": None if goal is None else tuple(goal),
        "workers": workers,
        "executor": executor,
        "auto_precision": auto_precision,
        "evaluator": evaluator,
        "data": data,
        "seconds": seconds,
    }
    update = {name: value for name, value in changes.items() if value is not None}
    read_manifest(run).model_copy(update=update).write(run.manifest)


def record_builder(run: RunDir, builder: BuilderDescription) -> None:
    """Record the user's function that builds the networks of a run."""
    read_manifest(run).model_copy(update={"builder": builder}).write(run.manifest)


def record_artifacts(run: RunDir, paths: Sequence[Path]) -> None:
    """Record the size and the hash of result files. Paths that do not exist are skipped."""
    manifest = read_manifest(run)
    rows = manifest.artifacts | _describe_files(run, paths)
    manifest.model_copy(update={"artifacts": rows}).write(run.manifest)


def record_family(run: RunDir, paths: Sequence[Path]) -> None:
    """Record the members of the family, instead of those of an earlier family."""
    manifest = read_manifest(run)
    earlier_paths = _list_members(run, manifest)
    others = {name: row for name, row in manifest.artifacts.items() if name not in earlier_paths}
    rows = others | _describe_files(run, paths)
    manifest.model_copy(update={"artifacts": rows}).write(run.manifest)


def find_missing_members(run: RunDir, manifest: Manifest) -> list[str]:
    """The recorded members of the family whose files were deleted or renamed, such as "b1"."""
    return [
        name for path, name in _list_members(run, manifest).items() if not (run / path).is_file()
    ]


def _list_members(run: RunDir, manifest: Manifest) -> dict[str, str]:
    """The recorded members of the family: their names by path in the run directory."""
    paths = {name: run / name for name in sorted(manifest.artifacts)}
    return {
        name: path.stem
        for name, path in paths.items()
        if path.parent == run.family and path.suffix == ".yaml"
    }


def _describe_files(run: RunDir, paths: Sequence[Path]) -> dict[str, FileRecord]:
    return {
        str(path.relative_to(run.path)): describe_file(path)
        for path in sorted(paths)
        if path.is_file()
    }


def describe_file(path: Path) -> FileRecord:
    """The size and the hash of a file."""
    return FileRecord(bytes=path.stat().st_size, sha256=file_sha256(path))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
