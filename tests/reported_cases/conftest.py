"""What the tests of reported cases share: the command, called in this process, and tiny images.

Each test states the behavior that is wanted. Where the product does not do it yet, the test is a
strict expected failure whose reason says what happens today: remove the mark with the fix. A call
with a wrong option, or one that ends in a bug, raises RuntimeError, so that neither a renamed
option nor a new bug can pass for the expected failure.
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
    """How a command ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr


@pytest.fixture(autouse=True)
def _restore_signal_handlers() -> Iterator[None]:
    """`run_command` sets handlers of its own."""
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
    """Run `phinas WORDS...` in this process; the working directory is `tmp_path`.

    new_key: the call sets a configuration key that does not exist yet. may_crash: exit code 70 is
    for the test to judge.
    """
    monkeypatch.chdir(tmp_path)  # a bug leaves crash.log in the working directory

    def run(*words: object, new_key: bool = False, may_crash: bool = False) -> CommandResult:
        capsys.readouterr()
        exit_code = run_command(cli, [str(word) for word in words])
        printed = capsys.readouterr()
        usage_errors = ["--help`)"] + ([] if new_key else ["unknown key"])
        if exit_code == 2 and any(text in printed.err for text in usage_errors):
            raise RuntimeError(f"the test calls the command wrongly: {printed.err}")
        if exit_code == 70 and not may_crash:
            raise RuntimeError(f"the command ended in a bug: {printed.err}")
        return CommandResult(exit_code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def random_image() -> Callable[..., np.ndarray]:
    """Noise that a seed decides: uint8 of (height, width, 3), no two of them equal."""

    def make(seed: int, *, width: int = 16, height: int = 16) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture
def write_class_folders(random_image: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Write `count` images into each class folder below `root`; returns `root`."""
    written = 0

    def write(
        root: Path,
        count: int,
        *,
        classes: tuple[str, ...] = ("cat", "dog"),
        width: int = 16,
        height: int = 16,
        suffix: str = ".png",
    ) -> Path:
        nonlocal written
        for name in classes:
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                written += 1
                pixels = random_image(written, width=width, height=height)
                Image.fromarray(pixels).save(folder / f"image{written}{suffix}")
        return root

    return write


@pytest.fixture
def small_network(tmp_path: Path) -> Path:
    """The spec file of a network that trains in a second, at any resolution."""
    path = tmp_path / "small_network.yaml"
    path.write_text(
        "stem_width: 8\n"
        "stem_stride: 2\n"
        "stages: [{width: 8, depth: 1, stride: 2}]\n"
        "head_width: 16\n"
        "resolution: 224\n"
    )
    return path
