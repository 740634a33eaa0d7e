"""What several test folders share: the command as a person calls it, and a small run that has gone its whole way."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL_RUN = Path(__file__).parent / "phinas_tests" / "small_run.yaml"
Phinas = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "phinas", *map(str, words)]


@pytest.fixture(scope="session")
def phinas() -> Phinas:
    """Run `phinas WORDS...` in a process of its own, without a terminal."""

    def call(*words: object, cwd: Path | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(*words),
            cwd=cwd,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def finished_run(phinas: Phinas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of small_run.yaml that nothing disturbed. Copy it before changing it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    ended = phinas("run", SMALL_RUN, "--out", out)
    assert ended.returncode == 0, ended.stderr
    return out
