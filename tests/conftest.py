"""What several test folders share: the command as a person calls it, and a small run that has gone
its whole way.
"""

import contextlib
import fcntl
import importlib
import io
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

# Tests run two at a time; with several threads each, small networks mostly wait for one another (20
# times slower).
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing is kept in the home of who runs the tests, and none reads what another decoded;
# test_cache.py has caches of its own.
os.environ["PHINAS_CACHE_GB"] = "0"

SMALL_RUN = Path(__file__).parent / "phinas_tests" / "small_run.yaml"
Phinas = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "phinas", *map(str, arguments)]


@pytest.fixture(scope="session")
def phinas() -> Phinas:
    """Run `phinas WORDS...` in a process of its own, without a terminal."""

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
    """Run `phinas WORDS...` in this process, which spares the start of Python and torch."""

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
        # Modules of a user's own. One of the same name in another directory is another module.
        own_modules = {file.stem for file in folder.glob("*.py")} if cwd else set()
        for name in own_modules:
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
            for name in own_modules:
                sys.modules.pop(name, None)
        return subprocess.CompletedProcess(words, code, stdout.getvalue(), stderr.getvalue())

    return call


@pytest.fixture(scope="session")
def finished_run(phinas: Phinas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of small_run.yaml that nothing disturbed. Copy it before changing it.

    The processes of pytest-xdist share one: the first that needs it makes it.
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
    """What is called in this process may set torch's number of threads."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """torchvision, or a skip. Its wheel from PyPI is made for CUDA: beside a CPU build of torch its
    compiled operators do not load, and importing it fails unless their names are declared. The
    networks need none of them."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                operators.define(
                    f"{name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
                )
        return pytest.importorskip("torchvision")


@pytest.fixture(scope="session")
def timm(torchvision: ModuleType) -> ModuleType:
    """timm, or a skip. It imports torchvision."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("timm")
