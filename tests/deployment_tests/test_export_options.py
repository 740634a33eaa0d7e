"""What `phinas export` writes of a trained network, and what it refuses."""

import ast
import json
import shutil
from pathlib import Path

import pytest

import phinas as front
from phinas.experiment.artifacts.fit import TrainedNetwork
from phinas.experiment.artifacts.onnx_metadata import OnnxAccuracy
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir


def steps_of(fit: Path) -> dict[str, object]:
    return TrainedNetwork.read(FitDir(fit).spec).preprocessing.to_dict()


@pytest.mark.slow
def test_onnx_metadata_have_classes_and_preprocessing(color_fit, tmp_path) -> None:
    onnx = pytest.importorskip("onnx")
    front.export(str(color_fit), out=tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == ["bars", "dots", "fade"]
    assert json.loads(metadata["preprocessing"]) == steps_of(color_fit)
    assert metadata["preprocessing_steps"].startswith("1. Turn the image upright")
    assert metadata["input"] == "normalized float32 NCHW"
    accuracy = json.loads(metadata["test_accuracy"])
    assert accuracy["float32"] == json.loads(metadata["trained_weights"])["score"]
    assert accuracy["int8"] is None
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [each.dim_param or each.dim_value for each in shape] == ["batch", 3, "height", "width"]


@pytest.mark.slow
def test_graph_with_preprocessing_takes_pixels_of_any_size(color_fit, tmp_path) -> None:
    onnx = pytest.importorskip("onnx")
    result = front.export(str(color_fit), out=tmp_path / "net.onnx", with_preprocessing=True)
    assert result.largest_relative_difference < 2e-2
    model = onnx.load(tmp_path / "net.onnx")
    images = model.graph.input[0].type.tensor_type
    assert images.elem_type == onnx.TensorProto.UINT8
    names = [each.dim_param or each.dim_value for each in images.shape.dim]
    assert names == ["batch", "height", "width", 3]


@pytest.mark.slow
def test_dynamic_quantization_works_on_every_kind_of_file(color_fit, tmp_path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    for name, flags in {"plain": {}, "pixels": {"with_preprocessing": True}}.items():
        path = tmp_path / f"{name}.onnx"
        front.export(str(color_fit), out=path, **flags)
        quantization.quantize_dynamic(path, tmp_path / f"{name}-dynamic.onnx")
        assert front.load_model(path).classes == ("bars", "dots", "fade")


def test_python_file_says_its_preprocessing(color_fit, tmp_path) -> None:
    front.export(str(color_fit), out=tmp_path / "net.py")
    text = (tmp_path / "net.py").read_text()
    module = ast.parse(text)
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id in ("CLASSES", "IMAGE_SIZE", "RESOLUTION", "MEAN", "STD")
    }
    steps = steps_of(color_fit)
    assert values == {
        "CLASSES": ("bars", "dots", "fade"),
        "IMAGE_SIZE": steps["image_size"],
        "RESOLUTION": steps["resolution"],
        "MEAN": steps["mean"],
        "STD": steps["std"],
    }
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in module.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert "PIL" not in imported  # the network itself needs torch only


@pytest.mark.parametrize(
    ("lost", "gained", "is_significant"), [(30, 10, True), (5, 3, False), (10, 30, False)]
)
def test_loss_of_int8_is_significant_beyond_noise(lost, gained, is_significant) -> None:
    accuracy = OnnxAccuracy(
        float32=0.9, int8=0.9 + (gained - lost) / 1000, images=1000, lost=lost, gained=gained
    )
    assert accuracy.is_loss_significant is is_significant


@pytest.mark.slow
def test_command_says_the_accuracy_of_int8(color_fit, tmp_path, phinas_in_process) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    path = tmp_path / "net.onnx"
    result = phinas_in_process("export", color_fit, "--out", path, "--int8")
    assert result.returncode == 0, result.stderr
    assert "in int8" in result.stdout
    assert "points) on 90 test images" in result.stdout
    metadata = front.load_model(path).model.metadata
    accuracy = json.loads(metadata["test_accuracy"])
    assert accuracy["images"] == 90
    assert f"accuracy {accuracy['int8']:.1%} in int8" in result.stdout
    assert metadata["precision"] == "int8"
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    ("out", "flags", "message"),
    [
        ("net.py", {"int8": True}, "--int8: is for ONNX files and --to is torch"),
        ("net.py", {"with_preprocessing": True}, "--with-preprocessing: is for ONNX files"),
        ("weights.safetensors", {"to": "timm"}, "would overwrite the file of --weights"),
        ("weights.py", {}, "weights.safetensors: exists without weights.py"),
    ],
)
def test_options_that_do_not_fit_are_refused(out, flags, message, color_fit, tmp_path) -> None:
    shutil.copytree(color_fit, tmp_path / "fit")
    before = sorted((tmp_path / "fit").iterdir())
    with pytest.raises(InputError) as caught:
        front.export(str(tmp_path / "fit"), out=tmp_path / "fit" / out, **flags)
    assert message in str(caught.value)
    assert sorted((tmp_path / "fit").iterdir()) == before


@pytest.mark.parametrize("flag", ["int8", "with_preprocessing"])
def test_network_without_images_is_refused(flag, tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    with pytest.raises(InputError, match="the images of efficientnet_b0 are unknown; name the"):
        front.export("efficientnet_b0", out=tmp_path / "net.onnx", **{flag: True})
    assert not list(tmp_path.iterdir())


def test_int8_without_the_training_images_is_refused(color_fit, tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    shutil.copytree(color_fit, tmp_path / "fit")
    shutil.rmtree(tmp_path / "fit" / "data")
    with pytest.raises(InputError, match="restore the folder data"):
        front.export(str(tmp_path / "fit"), out=tmp_path / "net.onnx", int8=True)
    # the float32 file needs no images of the data set
    result = front.export(str(tmp_path / "fit"), out=tmp_path / "net.onnx")
    assert result.preprocessing_known


@pytest.mark.slow
def test_network_of_a_run_is_exported_with_its_weights(finished_run, tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    result = front.export(f"{finished_run}:b0", out=tmp_path / "net.onnx")
    assert result.preprocessing_known
    loaded = front.load_model(tmp_path / "net.onnx")
    assert loaded.classes == tuple(map(str, range(10)))
    assert loaded.preprocessing.channel_order == "L"
