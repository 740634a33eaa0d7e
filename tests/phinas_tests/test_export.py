"""`phinas export`: the written files compute the same as the network."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from phinas.api.export import FORMATS, export
from phinas.cli import cli
from phinas.experiment.errors import InputError
from phinas.space.interchange.library_models import library_spec
from phinas.space.interchange.state_dict_maps import to_library_state_dict
from phinas.space.loading import load_spec
from phinas.space.spec import ArchSpec, SpecError, StageSpec
from phinas.training.engine.weights_io import load_weights, save_weights

SPEC = replace(library_spec("timm:test_efficientnet"), resolution=64, classes=5)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = SPEC.build()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture
def files(model, tmp_path):
    (tmp_path / "small.yaml").write_text(SPEC.to_yaml())
    save_weights(model, SPEC, tmp_path / "small.safetensors")
    return str(tmp_path / "small.yaml"), tmp_path / "small.safetensors"


def logits(network):
    images = torch.randn(
        3,
        SPEC.channels,
        SPEC.resolution,
        SPEC.resolution,
        generator=torch.Generator().manual_seed(2),
    )
    with torch.inference_mode():
        return network(images)


@pytest.mark.slow
def test_onnx_export_gives_equal_logits_for_any_batch(
    finished_run: Path, tmp_path: Path, phinas
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    family = finished_run / "scaling" / "family"
    out = tmp_path / "b0.onnx"
    result = phinas(
        "export", family / "b0.yaml", "--weights", family / "b0.safetensors", "--out", out, "--json"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["largest_relative_difference"] < 1e-4

    spec = load_spec(str(family / "b0.yaml"))
    network = spec.build().eval()
    network.load_state_dict(load_file(family / "b0.safetensors"))
    images = torch.randn(5, spec.channels, spec.resolution, spec.resolution)
    onnx_logits = torch.from_numpy(
        onnxruntime.InferenceSession(out).run(None, {"images": images.numpy()})[0]
    )
    with torch.inference_mode():
        expected = network(images)
    assert (onnx_logits - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("tool", ["timm", "torchvision"])
def test_instructions_of_a_library_export_make_a_model_with_equal_logits(
    tool, model, files, tmp_path, monkeypatch, timm, torchvision
):
    spec, weights = files
    export_result = export(spec, to=tool, weights=weights, out=tmp_path / "other.safetensors")
    assert export_result.largest_relative_difference < 1e-5
    assert export_result.path == tmp_path / "other.safetensors"
    instructions = json.loads(export_result.instructions.read_text())
    assert (instructions["tool"], instructions["network_id"]) == (tool, SPEC.network_id)
    assert ArchSpec.from_dict(instructions["spec"]) == SPEC
    scope: dict[str, object] = {}
    monkeypatch.chdir(tmp_path)
    exec("\n".join(instructions["python"]), scope)
    library_model = scope["model"].eval()
    assert load_file(tmp_path / "other.safetensors").keys() == library_model.state_dict().keys()
    assert (logits(library_model) - logits(model)).abs().max() <= 1e-5 * logits(model).abs().max()


@pytest.mark.slow
def test_weights_survive_export_to_timm_and_torchvision(model, files, tmp_path):
    spec, weights = files
    export(spec, to="timm", weights=weights, out=tmp_path / "a.safetensors")
    export(
        spec, to="torchvision", weights=tmp_path / "a.safetensors", out=tmp_path / "b.safetensors"
    )
    network = SPEC.build()
    load_weights(network, tmp_path / "b.safetensors", spec=SPEC)
    assert all(
        torch.equal(tensor, model.state_dict()[name])
        for name, tensor in network.state_dict().items()
    )


def test_py_file_is_a_standalone_network(model, files, tmp_path):
    spec, weights = files
    export_result = export(spec, weights=weights, out=tmp_path / "alone.py")
    assert export_result.to == "torch"
    assert export_result.largest_relative_difference < 1e-5
    assert (tmp_path / "alone.py").exists()
    assert (tmp_path / "alone.safetensors").exists()


def test_command_prints_the_files_that_it_wrote(files, tmp_path, phinas_in_process):
    spec, _ = files
    result = phinas_in_process("export", spec, "--to", "timm", "--out", tmp_path / "x.safetensors")
    assert result.returncode == 0, result.stderr
    assert "weights in timm naming" in result.stdout
    assert "x.timm.json" in result.stdout


def test_command_offers_every_format():
    to = next(parameter for parameter in cli.commands["export"].params if parameter.name == "to")
    assert get_args(to.type.annotation) == tuple(FORMATS)


def test_weights_of_another_spec_are_refused(files, tmp_path, phinas_in_process):
    _, weights = files
    other = replace(SPEC, stages=SPEC.stages[:-1])
    (tmp_path / "other.yaml").write_text(other.to_yaml())
    result = phinas_in_process(
        "export", tmp_path / "other.yaml", "--weights", weights, "--out", tmp_path / "b0.onnx"
    )
    assert result.returncode == 2
    assert "the weights belong to another spec" in result.stderr
    assert not (tmp_path / "b0.onnx").exists()


@pytest.mark.parametrize(
    ("to", "name", "message"),
    [
        (
            None,
            "b0.txt",
            "does not determine the format; write NAME.onnx, NAME.py, or NAME.safetensors with",
        ),
        (None, "b0.safetensors", "does not determine the format"),
        ("onnx", "b0.py", "does not end in .onnx, which --to onnx needs; change one of them"),
        ("timm", "b0.onnx", "does not end in .safetensors"),
        ("keras", "b0.keras", "--to: 'keras' is not one of onnx, torch, timm, torchvision"),
        ("timm", "small.safetensors", "would overwrite the file of --weights; use another name"),
        (None, "small.py", "would overwrite the file of --weights; use another name"),
        *(
            (None, name, "that Python can import; use letters, digits and _")
            for name in ("not-a-name.py", "1b.py", "class.py", "a.b.py")
        ),
        *((None, name, "would shadow the module") for name in ("torch.py", "json.py", "PIL.py")),
    ],
)
def test_file_name_that_does_not_fit_the_format_is_refused(to, name, message, files, tmp_path):
    spec, weights = files
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        export(spec, to=to, weights=weights, out=tmp_path / name)
    assert message in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_foreign_weights_are_not_overwritten(files, tmp_path):
    spec, _ = files
    (tmp_path / "net.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match="use another name"):
        export(spec, out=tmp_path / "net.py")
    assert (tmp_path / "net.safetensors").read_bytes() == b"mine"


def test_wrong_file_ending_is_refused_before_torch_is_imported(tmp_path):
    code = (
        "import sys, phinas\n"
        "try: phinas.export('efficientnet_b0', out='net.onx')\n"
        "except phinas.InputError: print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


def test_network_without_a_class_in_the_library_is_refused_and_nothing_written(tmp_path):
    spec = replace(SPEC, stages=(StageSpec(64, 1, block="bottleneck", expansion=4),))
    (tmp_path / "odd.yaml").write_text(spec.to_yaml())
    with pytest.raises(
        SpecError,
        match=r"timm has no class for this network: EfficientNet .* ResNet .*Export it as",
    ):
        export(str(tmp_path / "odd.yaml"), to="timm", out=tmp_path / "odd.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.yaml"]


def test_classifier_with_another_number_of_classes_is_explained(model, files, tmp_path):
    state = to_library_state_dict(model.state_dict(), SPEC, "timm")
    state |= {"classifier.weight": torch.ones(9, SPEC.last_width), "classifier.bias": torch.ones(9)}
    save_file(state, tmp_path / "nine.safetensors")
    with pytest.raises(
        InputError,
        match=r"nine.safetensors: classifier: has 9 classes, .* set classes: 9 in the spec",
    ):
        export(
            files[0],
            to="timm",
            weights=tmp_path / "nine.safetensors",
            out=tmp_path / "out.safetensors",
        )


class _RunsCode:
    """An object whose pickle makes a directory when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_never_run(files, tmp_path):
    for name in ("w.pth", "w.safetensors"):
        torch.save({"weight": _RunsCode(tmp_path / "made")}, tmp_path / name)
        with pytest.raises(InputError, match=name):
            export(files[0], weights=tmp_path / name, out=tmp_path / "out.onnx")
        assert not (tmp_path / "made").exists()


def test_timm_and_torchvision_are_never_imported(tmp_path):
    for module in (
        "phinas.space.interchange.state_dict_maps",
        "phinas.space.interchange.library_models",
        "phinas.space.interchange.constructors",
        "phinas.space.interchange.timm_reader",
        "phinas.space.interchange.timm_strings",
    ):
        source = Path(importlib.util.find_spec(module).origin)
        for path in source.parent.glob("*.py") if source.name == "__init__.py" else [source]:
            lines = path.read_text().splitlines()
            assert not [
                line
                for line in lines
                if line.startswith(
                    ("import timm", "from timm", "import torchvision", "from torchvision")
                )
            ]
