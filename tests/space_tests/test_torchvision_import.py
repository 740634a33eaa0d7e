"""Tests that torchvision and timm can be imported with any build of torch, in a new process."""

import subprocess
import sys
from importlib.util import find_spec

import pytest


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision", "timm", "torchvision.datasets"])
def test_a_library_is_imported_in_a_new_process(name):
    if find_spec(name.partition(".")[0]) is None:
        pytest.skip(f"{name} is not installed")
    result = run_python(
        "from phinas.space.interchange.torchvision_import import import_with_torchvision\n"
        f"module = import_with_torchvision({name!r})\n"
        f"assert module.__name__ == {name!r}\n"
        f"import_with_torchvision({name!r})"
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_an_operator_that_is_only_declared_fails_when_it_is_called():
    code = (
        "import torch\n"
        "from phinas.space.interchange.torchvision_import import import_with_torchvision\n"
        "ops = import_with_torchvision('torchvision.ops')\n"
        "boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])\n"
        "try:\n"
        "    assert len(ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)) == 1\n"
        "except RuntimeError as error:\n"
        "    assert 'custom C++ ops' in str(error)\n"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_a_data_set_of_torchvision_is_found_in_a_new_process():
    code = (
        "from phinas.experiment.errors import InputError\n"
        "from phinas.training.data.sources.torchvision_datasets import list_torchvision\n"
        "from phinas.training.data.source_dataset import ReadOptions\n"
        "try:\n"
        "    list_torchvision('torchvision:CIFAR11', ReadOptions())\n"
        "except InputError as error:\n"
        "    assert 'CIFAR1' in str(error).partition('did you mean')[2], error\n"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_a_library_that_is_not_installed_is_an_import_error():
    code = (
        "from phinas.space.interchange.torchvision_import import import_with_torchvision\n"
        "try:\n"
        "    import_with_torchvision('no_such_library')\n"
        "except ImportError:\n"
        "    raise SystemExit(5)\n"
    )
    assert run_python(code).returncode == 5
