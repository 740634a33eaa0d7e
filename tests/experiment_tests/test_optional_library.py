"""Tests of folders and files of the user that have the name of an optional library."""

import importlib.machinery
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phinas.api.export import _require_onnx
from phinas.experiment.errors import InputError
from phinas.experiment.executors.ray_tasks import RayExecutor
from phinas.experiment.schema.config import FitSection
from phinas.experiment.storage.study_storage import open_storage
from phinas.fit_pipeline import fit_steps
from phinas.training.data.source_dataset import ReadOptions
from phinas.training.data.sources.hf_hub import list_hf_dataset
from phinas.training.data.sources.parquet import _pyarrow
from phinas.training.data.sources.torchvision_datasets import list_torchvision
from phinas.training.timing.runtimes import require_runtime
from phinas.training.weights.hub_weights import find_weights

USES: dict[str, tuple[str, str, Callable[[], object]]] = {
    "data set of the hub": ("datasets", "hf", lambda: list_hf_dataset("hf:a/b", ReadOptions())),
    "weights of the hub": ("huggingface_hub", "hf", lambda: find_weights("hf:a/b")),
    "Ray": ("ray", "ray", lambda: RayExecutor(1)),
    "Parquet": ("pyarrow", "parquet", lambda: _pyarrow(Path("x.parquet"))),
    "torchvision": (
        "torchvision",
        "peers",
        lambda: list_torchvision("torchvision:MNIST", ReadOptions()),
    ),
    "ONNX Runtime": (
        "onnxruntime",
        "onnx",
        lambda: require_runtime("onnxruntime", "cpu", option="x", device_option="y"),
    ),
    "export": ("onnx", "onnx", lambda: _require_onnx("onnx", with_preprocessing=False, int8=False)),
    "fit": (
        "onnxscript",
        "onnx",
        lambda: fit_steps._require_onnx(FitSection.model_construct(onnx=True)),
    ),
    "PostgreSQL": (
        "psycopg",
        "postgres",
        lambda: open_storage(Path("x"), url="postgresql+psycopg://127.0.0.1/x", new=True),
    ),
}


@pytest.fixture
def import_from_here(tmp_path, monkeypatch):
    """Function that has Python find a library in the working directory, and only there."""
    monkeypatch.chdir(tmp_path)

    def hide(library: str) -> Path:
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.partition(".")[0] != library:
                    return None
                spec = importlib.machinery.PathFinder.find_spec(name, path or [str(tmp_path)])
                if spec is None:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
                return spec

        for name in [name for name in sys.modules if name.partition(".")[0] == library]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
        return tmp_path / library

    yield hide
    monkeypatch.undo()


@pytest.mark.parametrize("use", USES)
def test_folder_with_the_name_of_a_library_does_not_hide_that_it_is_missing(use, import_from_here):
    library, extra, call = USES[use]
    (import_from_here(library) / "photos").mkdir(parents=True)
    with pytest.raises(InputError, match=rf"pip install 'phinas\[{extra}\]'"):
        call()
    assert library not in sys.modules


@pytest.mark.parametrize("use", USES)
def test_module_with_the_name_of_a_library_is_not_run(use, import_from_here):
    library, extra, call = USES[use]
    module = import_from_here(library).with_suffix(".py")
    module.write_text("raise AssertionError('this module was not named by the user')")
    with pytest.raises(InputError, match=rf"phinas\[{extra}\]"):
        call()
