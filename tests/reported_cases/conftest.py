"""Fixtures of the tests of reported cases: the command, called in this process, and tiny images.

Each test asserts the required behavior. If phinas does not have it yet, the test is a strict
expected failure whose reason states the current behavior. Remove the mark with the fix. A call with
a wrong option, or one that ends with a bug, raises RuntimeError, so that a renamed option or a new
bug is not taken for the expected failure.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phinas.cli import cli
from phinas.errors import run_command


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """stdout followed by stderr."""
        return self.stdout + self.stderr


@pytest.fixture(autouse=True)
def _restore_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers, which `run_command` replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run_phinas(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restore_torch_threads: None,
) -> Callable[..., CommandResult]:
    """Function that runs `phinas ARGUMENTS...` in this process, in the directory `tmp_path`.

    Its options: `new_key`, if the call sets a configuration key that does not exist yet; and
    `may_crash`, if exit code 70 does not raise RuntimeError.
    """
    monkeypatch.chdir(tmp_path)  # a bug leaves crash.log in the working directory

    def run(*words: object, new_key: bool = False, may_crash: bool = False) -> CommandResult:
        capsys.readouterr()
        exit_code = run_command(cli, [str(word) for word in words])
        printed = capsys.readouterr()
        usage_errors = ["--help`", "unknown option"] + ([] if new_key else ["unknown key"])
        if exit_code == 2 and any(text in printed.err for text in usage_errors):
            raise RuntimeError(f"the test calls the command wrongly: {printed.err}")
        if exit_code == 70 and not may_crash:
            raise RuntimeError(f"the command ended in a bug: {printed.err}")
        return CommandResult(exit_code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def random_image() -> Callable[..., np.ndarray]:
    """Function that returns random pixels for a seed: uint8, (height, width, 3)."""

    def make(seed: int, *, width: int = 16, height: int = 16) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture
def write_class_folders(random_image: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Function that writes `count` different images into each class folder of `root`, and returns
    `root`.
    """
    num_images = 0

    def write(
        root: Path,
        count: int,
        *,
        classes: tuple[str, ...] = ("cat", "dog"),
        width: int = 16,
        height: int = 16,
        suffix: str = ".png",
    ) -> Path:
        nonlocal num_images
        for name in classes:
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                num_images += 1
                pixels = random_image(num_images, width=width, height=height)
                Image.fromarray(pixels).save(folder / f"image{num_images}{suffix}")
        return root

    return write


@pytest.fixture
def small_network(tmp_path: Path) -> Path:
    """Spec file of a network that trains in a second, at any resolution."""
    path = tmp_path / "small_network.yaml"
    path.write_text(
        "stem_width: 8\n"
        "stem_stride: 2\n"
        "stages: [{width: 8, depth: 1, stride: 2}]\n"
        "head_width: 16\n"
        "resolution: 224\n"
    )
    return path
