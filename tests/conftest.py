"""Fixtures of several test folders: the phinas command, and a finished small run."""

import contextlib
import fcntl
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# Random tests draw the same examples each time; `make test-all` draws new ones.
settings.register_profile("reproducible", derandomize=True)
settings.load_profile("reproducible")
# two tests run in parallel; with several threads each, small networks are 20 times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")
# no test writes to the home directory or reads images that another test decoded; test_cache.py has
# separate caches
os.environ["PHINAS_CACHE_GB"] = "0"

SMALL_RUN = Path(__file__).parent / "phinas_tests" / "small_run.yaml"
Phinas = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "phinas", *map(str, arguments)]


@pytest.fixture(scope="session")
def make_foreign() -> Callable[[Path], None]:
    """Function that gives a file or folder to another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")

    def change_owner(path: Path) -> None:
        os.chown(path, 12345, 12345)

    return change_owner


@pytest.fixture(scope="session")
def phinas() -> Phinas:
    """Function that runs `phinas ARGUMENTS...` in a new process, without a terminal."""

    def call(
        *arguments: object, cwd: Path | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(*arguments),
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
def phinas_in_process() -> Phinas:
    """Function that runs `phinas ARGUMENTS...` in this process, which saves the start of torch."""

    def call(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        import torch

        from phinas.cli import cli
        from phinas.errors import run_command

        words = [*map(str, arguments)]
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
        handlers = {number: signal.getsignal(number) for number in numbers}
        threads, path = torch.get_num_threads(), sys.path[:]
        stdout, stderr = io.StringIO(), io.StringIO()
        folder = cwd or Path.cwd()
        # modules of the user; another directory may have a module of the same name
        user_modules = {file.stem for file in folder.glob("*.py")} if cwd else set()
        for name in user_modules:
            sys.modules.pop(name, None)
        sys.path.insert(0, str(folder))  # as `python -m` does
        try:
            with (
                contextlib.chdir(folder),
                contextlib.redirect_stdout(stdout),
                contextlib.redirect_stderr(stderr),
            ):
                code = run_command(cli, words)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            torch.set_num_threads(threads)
            sys.path[:] = path
            for name in user_modules:
                sys.modules.pop(name, None)
        return subprocess.CompletedProcess(words, code, stdout.getvalue(), stderr.getvalue())

    return call


@pytest.fixture(scope="session")
def finished_run(phinas: Phinas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a finished run of small_run.yaml. Copy it before changing it.

    It is made once, by the first process of pytest-xdist that needs it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    out = folder / "finished_run"
    with (folder / "finished_run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "report" / "index.html").exists():
            result = phinas("run", SMALL_RUN, "--out", out)
            assert result.returncode == 0, result.stderr
    return out


@pytest.fixture
def restore_torch_threads() -> Iterator[None]:
    """Restore torch's number of threads after the test."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """The module torchvision; skips the test if it is not installed."""
    return _import_library("torchvision")


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    """The module timm; skips the test if it is not installed."""
    return _import_library("timm")


def _import_library(name: str) -> ModuleType:
    from phinas.space.interchange.torchvision_import import import_with_torchvision

    try:
        return import_with_torchvision(name)
    except ImportError:
        pytest.skip(f"{name} is not installed")
