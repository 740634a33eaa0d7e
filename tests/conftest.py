"""What several test folders share: the command as a person calls it, and a small run that has gone
its whole way.
"""

import importlib
import os
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


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "phinas", *map(str, words)]


@pytest.fixture(scope="session")
def phinas() -> Phinas:
    """Run `phinas WORDS...` in a process of its own, without a terminal."""

    def call(
        *words: object, cwd: Path | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
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


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
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
