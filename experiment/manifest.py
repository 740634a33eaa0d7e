"""What a run was: versions, hardware, command line, seed, data fingerprint, and the sha256 of what
it made.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from phinas.experiment.run_dir import RunDir, write_json

# What stands between user and host in the URL of a database.
_PASSWORD = re.compile(r"(://[^/@:\s]*:)[^/@\s]*@")
_PACKAGES = ("phinas", "torch", "optuna", "numpy", "scikit-learn", "pandas", "matplotlib")


def version() -> str:
    """phinas' own version, as installed."""
    return importlib.metadata.version("phinas")


def describe_machine() -> dict[str, Any]:
    """What a result depends on and a reader would ask for. No host name, no user name."""
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    )
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "python": platform.python_version(),
        "packages": {name: _installed_version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree that runs, where it is one."""
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


def new_manifest(*, seed: int) -> dict[str, Any]:
    """The manifest of a run at its start."""
    return {
        "id": uuid.uuid4().hex,
        "phinas": version(),
        "commit": _commit(),
        "command": ["phinas", *(_PASSWORD.sub(r"\1***@", word) for word in sys.argv[1:])],
        "seed": seed,
        "machine": describe_machine(),
        "data": None,
        "artifacts": {},
    }


def update_manifest(run: RunDir, **entries: Any) -> None:
    """Set top-level facts of the manifest."""
    write_json(run.manifest, read_manifest(run) | entries)


def record_artifacts(run: RunDir, paths: list[Path]) -> None:
    """Keep size and sha256 of files of the run, under their path inside it."""
    rows = {
        str(path.relative_to(run.path)): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(paths)
        if path.is_file()
    }
    update_manifest(run, artifacts=read_manifest(run)["artifacts"] | rows)


def read_manifest(run: RunDir) -> dict[str, Any]:
    return json.loads(run.manifest.read_text())


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
