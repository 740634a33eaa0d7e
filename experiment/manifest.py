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
        "packages": {name: _installed(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree that runs, where it is one."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    answer = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


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
        "artefacts": {},
    }


def add_to_manifest(run: RunDir, **facts: Any) -> None:
    """Set top-level facts of the manifest."""
    write_json(run.manifest, read_manifest(run) | facts)


def record_artefacts(run: RunDir, paths: list[Path]) -> None:
    """Keep size and sha256 of files of the run, under their path inside it."""
    rows = {
        str(path.relative_to(run.path)): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(paths)
        if path.is_file()
    }
    add_to_manifest(run, artefacts=read_manifest(run)["artefacts"] | rows)


def read_manifest(run: RunDir) -> dict[str, Any]:
    return json.loads(run.manifest.read_text())


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
