"""Tests of runs whose baseline a user's function builds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from phinas import scale
from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.artifacts.manifest import Manifest
from phinas.space.builders.built_network import BuiltNetwork

EXAMPLE = Path(__file__).parents[2] / "examples" / "resnet_builder.py"
NETWORK = """
from torch import nn

def build(*, depth, width, resolution, classes, channels):
    size = max(8, round(16 * width / 8) * 8)
    layers = [nn.Conv2d(channels, size, 3, 2, 1), nn.ReLU()]
    for _ in range(max(1, round(2 * depth))):
        layers += [nn.Conv2d(size, size, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(size, classes))
"""
SETTINGS = [
    *("--set", "scaling.evaluator=synthetic", "--set", "search.resolution=32"),
    *("--set", "scaling.grid_step=0.25", "--set", "scaling.tolerance=0.1"),
    *("--set", "scaling.grid_phi=1", "--phi", "0", "--phi", "1"),
]


@pytest.fixture
def module(tmp_path):
    path = tmp_path / f"net_{tmp_path.name.replace('-', '_')}.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, phinas_in_process):
    """The file of a builder, and a run that has scaled it."""
    folder = tmp_path_factory.mktemp("finished")
    path, run = folder / "finished_net.py", folder / "run"
    path.write_text(NETWORK)
    result = phinas_in_process("scale", "--baseline", f"{path}:build", "--out", run, *SETTINGS)
    assert result.returncode == 0, result.stderr
    return path, run


def test_family_of_a_builder_has_its_exact_cost(finished_run):
    path, run = finished_run
    member = FamilyMember.read(run / "scaling" / "family" / "b1.yaml")
    assert isinstance(member.spec, BuiltNetwork)
    counted = replace(member.spec, recorded=None)
    assert (counted.network_id, counted.cost().flops) == (member.network_id, member.flops)
    report = (run / "report" / "index.html").read_text()
    assert f"{path}:build builds the network" in report


@pytest.mark.slow
def test_run_of_changed_files_is_not_resumed_and_its_report_needs_none(finished_run, phinas):
    path, run = finished_run
    manifest = Manifest.read(run / "manifest.json")
    assert manifest.builder is not None
    assert list(manifest.builder.files) == [path.name]
    path.write_text(NETWORK + "\nNAME = 'changed'\n")
    result = phinas("resume", run)
    assert result.returncode == 2
    assert f"{path.name} was changed" in result.stderr
    path.unlink()
    result = phinas("report", run)
    assert result.returncode == 0, result.stderr


def test_network_of_a_run_in_the_current_folder_is_no_builder(
    tmp_path, monkeypatch, phinas_in_process
):
    monkeypatch.chdir(tmp_path)
    scaling = ("--coefficients", "1.2,1.1,1.15", "--phi", "1")
    for baseline, out in (("mnasnet_small", "photos"), ("photos:b1", "larger")):
        result = phinas_in_process("scale", "--baseline", baseline, *scaling, "--out", out)
        assert result.returncode == 0, result.stderr
    smaller, larger = (Path(run, "scaling", "family") for run in ("photos", "larger"))
    network_id = FamilyMember.read(larger / "b0.yaml").network_id
    assert network_id == FamilyMember.read(smaller / "b1.yaml").network_id


def test_dry_run_shows_the_grid_of_a_builder(module, phinas_in_process):
    result = phinas_in_process(
        "scale", "--baseline", f"{module}:build", "--dry-run", "--json", *SETTINGS
    )
    assert result.returncode == 0, result.stderr
    grid = json.loads(result.stdout)
    assert len(grid["members"]) >= 2
    assert all(row["built_network"]["kind"] == "builder" for row in grid["members"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "scaling.divisor=4"], "scaling.divisor: has no effect on"),
        (["--set", "scaling.rounding=round"], "scaling.rounding: has no effect on"),
    ],
)
def test_option_without_effect_on_a_builder_is_refused(
    module, tmp_path, phinas_in_process, arguments, message
):
    command = ("scale", "--baseline", f"{module}:build", *SETTINGS, *arguments)
    for last_arguments in (("--out", tmp_path / "run"), ("--dry-run",)):
        result = phinas_in_process(*command, *last_arguments)
        assert result.returncode == 2
        assert message in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (NETWORK.replace("2 * depth", "2"), "ignores its argument depth"),
        (NETWORK.replace("16 * width", "16"), "ignores its argument width"),
        (NETWORK.replace("size = ", "size = classes.size or "), "raised AttributeError"),
        ("import not_a_package_of_anyone", "which is not installed"),
    ],
)
def test_builder_that_cannot_be_scaled_is_refused_before_the_run(
    module, tmp_path, phinas_in_process, code, message
):
    module.write_text(code)
    result = phinas_in_process(
        "scale", "--baseline", f"{module}:build", "--out", tmp_path / "run", *SETTINGS
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_commands_that_need_stages_refuse_a_builder(module, phinas_in_process):
    result = phinas_in_process("describe", f"{module}:build")
    assert result.returncode == 2
    assert "is made by a model builder" in result.stderr


def test_network_of_timm_of_another_family_is_refused(phinas_in_process):
    result = phinas_in_process("scale", "--baseline", "timm:swin_tiny_patch4", "--dry-run")
    assert result.returncode == 2
    assert "(ConvNeXt, RegNet X and Y, ResNet, ViT and DeiT" in result.stderr
    assert "write a function that builds it" in result.stderr


@pytest.mark.slow
def test_dry_run_shows_the_grid_of_a_network_of_timm(timm, phinas_in_process):
    result = phinas_in_process(
        *("scale", "--baseline", "timm:regnety_002", "--dry-run", "--json", *SETTINGS),
        *("--set", "scaling.tolerance=0.2"),
    )
    assert result.returncode == 0, result.stderr
    members = json.loads(result.stdout)["members"]
    assert {row["built_network"]["builder"] for row in members} == {"timm:regnety_002"}


@pytest.mark.slow
def test_example_goes_from_builder_to_report(tmp_path, phinas):
    run = tmp_path / "run"
    result = phinas(
        *("scale", "--baseline", f"{EXAMPLE}:build", "--data", "digits", "--out", run),
        *("--epochs", "1", "--seeds", "2", "--max-grid-members", "2", "--phi", "0", "--phi", "1"),
        *("--set", "data.max_train_images=200", "--workers", "1"),
        *("--set", "scaling.grid_step=0.25"),
    )
    assert result.returncode == 0, result.stderr
    result = phinas(
        *("validate", run, "--set", "validation.recipe.epochs=1"),
        *("--set", "validation.seeds=1", "--set", "validation.controls=[width]"),
    )
    assert result.returncode == 0, result.stderr
    report = (run / "report" / "index.html").read_text()
    assert "resnet_builder.py:build" in report
    onnx = phinas("export", f"{run}:b1", "--out", tmp_path / "b1.onnx")
    assert onnx.returncode == 0, onnx.stderr
    image = tmp_path / "digit.png"
    Image.new("L", (8, 8), 128).save(image)
    prediction = phinas("predict", f"{run}:b1", image)
    assert prediction.returncode == 0, prediction.stderr


def test_scale_of_the_api_accepts_a_builder(module, tmp_path):
    settings = {
        "scaling.evaluator": "synthetic",
        "scaling.grid_step": 0.25,
        "scaling.tolerance": 0.1,
        "scaling.grid_phi": 1,
        "search.resolution": 32,
    }
    summary = scale(
        baseline=f"{module}:build", out=tmp_path / "run", phi=[0, 1], settings=settings, quiet=True
    )
    assert summary.coefficients is not None


@pytest.mark.slow
def test_latency_of_a_builder_is_measured(module, phinas_in_process):
    result = phinas_in_process("latency", f"{module}:build", "--resolution", "32", "--json")
    assert result.returncode == 0, result.stderr
    assert str(module.name) in result.stdout
