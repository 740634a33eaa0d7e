"""`phinas.load_model`: model, transform and classes in one call."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import phinas as front
from phinas.experiment.errors import InputError


@pytest.fixture
def image(color_images: Path) -> Iterator[Image.Image]:
    with Image.open(color_images / "test" / "bars" / "000.jpg") as opened:
        yield opened


def test_fit_loads_as_a_plain_module_in_eval_mode(color_fit, image) -> None:
    loaded = front.load_model(color_fit)
    assert isinstance(loaded.model, nn.Module)
    assert not loaded.model.training
    assert loaded.classes == ("bars", "dots", "fade")
    assert loaded.preprocessing.image_size == 24
    inputs = loaded.transform(image)[None]
    assert (inputs.shape, inputs.dtype) == ((1, 3, 16, 16), torch.float32)
    assert loaded.model(inputs).shape == (1, 3)
    assert loaded.probabilities(inputs).sum().item() == pytest.approx(1)


def test_copy_of_weights_and_spec_alone_loads(color_fit, image, tmp_path) -> None:
    for name in ("spec.yaml", "weights.safetensors"):
        shutil.copy(color_fit / name, tmp_path)
    one, other = front.load_model(color_fit), front.load_model(tmp_path)
    inputs = one.transform(image)[None]
    assert torch.equal(one.probabilities(inputs), other.probabilities(inputs))
    assert front.load_model(tmp_path / "spec.yaml").classes == one.classes


@pytest.mark.parametrize("with_preprocessing", [False, True])
@pytest.mark.slow
def test_onnx_file_loads_with_its_transform(with_preprocessing, color_fit, image, tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    path = tmp_path / "net.onnx"
    front.export(str(color_fit), out=path, with_preprocessing=with_preprocessing)
    one, other = front.load_model(color_fit), front.load_model(path)
    assert other.classes == one.classes
    assert other.preprocessing == one.preprocessing
    assert other.network_id == one.network_id
    torch.testing.assert_close(
        other.probabilities(other.transform(image)[None]),
        one.probabilities(one.transform(image)[None]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_damaged_files_are_refused_by_name(color_fit, tmp_path) -> None:
    shutil.copytree(color_fit, tmp_path / "fit")
    weights = tmp_path / "fit" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"weights.safetensors: is damaged"):
        front.load_model(tmp_path / "fit")
    (tmp_path / "net.onnx").write_bytes(b"not onnx")
    with pytest.raises(InputError, match=r"net.onnx: onnxruntime cannot read it"):
        front.load_model(tmp_path / "net.onnx")


@pytest.mark.slow
def test_onnx_file_without_classes_is_refused(tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    onnx = pytest.importorskip("onnx")
    front.export("mobilenet_v2", out=tmp_path / "net.onnx")
    with pytest.raises(InputError, match="its classes and its preprocessing are unknown"):
        front.load_model(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(InputError, match="has no metadata of phinas"):
        front.load_model(tmp_path / "foreign.onnx")
