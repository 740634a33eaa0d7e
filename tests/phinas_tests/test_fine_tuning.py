"""`phinas fit --weights`: what is learned begins with what another network knows."""

import csv
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import phinas as front
from phinas.experiment.errors import InputError
from phinas.space.blocks import build
from phinas.space.interchange.state_dict_maps import to_library_state_dict
from phinas.space.search_spaces.loading import load_space
from phinas.space.yaml_io import read_yaml
from phinas.training.engine.weights_io import save_weights

pytestmark = pytest.mark.usefixtures("restore_torch_threads")

# timm's has no other
SPEC = replace(
    load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base, stem_stride=2
)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "small.yaml"
    path.write_text(SPEC.to_yaml())
    return path


def run_fit(network, out, **settings):
    always = {
        "recipe": "quick",
        "recipe.batch_size": 32,
        "threads": 1,
        "device": "cpu",
        "data.max_train_images": 400,
    }
    return front.fit(str(network), data="digits", out=out, settings=always | settings, quiet=True)


@pytest.fixture(scope="module")
def trained(network, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "out"
    run_fit(network, out)
    return out


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_fine_tuning_begins_with_the_weights_in_timm_names_too(trained, network, tmp_path):
    ours = trained / "weights.safetensors"
    save_file(to_library_state_dict(load_file(ours), SPEC, "timm"), tmp_path / "timm.safetensors")
    still = {"recipe.epochs": 1, "recipe.learning_rate": 1e-6}
    before = float(table(trained / "curve.csv")[-1]["accuracy"])
    for path in (ours, tmp_path / "timm.safetensors"):
        run_fit(network, tmp_path / path.stem, weights=str(path), **still)
        (row,) = table(tmp_path / path.stem / "curve.csv")
        assert float(row["accuracy"]) == pytest.approx(before, abs=0.05)
    assert before > 0.3
    assert "fine-tuned from `timm.safetensors`" in (tmp_path / "timm" / "README.md").read_text()


def test_a_frozen_backbone_learns_only_a_classifier_that_is_drawn_anew(tmp_path, network, capfd):
    other = replace(SPEC, classes=7)
    torch.manual_seed(1)
    model = build(other)
    save_weights(model, other, tmp_path / "seven.safetensors")
    settings = {
        "recipe": "quick",
        "weights": str(tmp_path / "seven.safetensors"),
        "freeze_backbone": True,
        "threads": 1,
    }
    front.fit(str(network), data="digits", out=tmp_path / "out", settings=settings)
    assert "tells other classes apart, so the classifier of 10 is drawn anew" in " ".join(
        capfd.readouterr().err.split()
    )
    after = load_file(tmp_path / "out" / "weights.safetensors")
    before = model.state_dict()
    changed = {
        name
        for name in before
        if before[name].shape != after[name].shape or not torch.equal(before[name], after[name])
    }
    assert changed == {"classifier.weight", "classifier.bias"}
    assert "only the classifier learned" in (tmp_path / "out" / "README.md").read_text()


def test_weights_of_another_network_are_refused_by_name_and_shapes(tmp_path, network):
    wide = replace(SPEC, stem_width=16)
    save_weights(build(wide), wide, tmp_path / "wide.safetensors")
    message = r"stem\.conv\.weight is \(16, 1, 3, 3\) in the file and \(8, 1, 3, 3\) in the network"
    with pytest.raises(InputError, match=message):
        run_fit(network, tmp_path / "out", weights=str(tmp_path / "wide.safetensors"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_weights_of_the_hub_go_by_its_name_and_pixels_are_normalized_as_they_want_it(
    trained, network, tmp_path, phinas
):
    pytest.importorskip("huggingface_hub", reason="the extra `hf` is not installed")
    # where its library keeps what it has downloaded
    cache = tmp_path / "hub" / "models--someone--net"
    (cache / "snapshots" / "abc").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots" / "abc" / "model.safetensors").write_bytes(
        (trained / "weights.safetensors").read_bytes()
    )
    offline = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    common = (
        "fit",
        network,
        "--data",
        "digits",
        "--recipe",
        "quick",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--threads",
        "1",
    )
    how = ("--set", "mean=[0.25]", "--set", "std=[0.5]")
    message = phinas(
        *common, *how, "--weights", "hf:someone/net@main", "--out", tmp_path / "out", **offline
    )
    assert message.returncode == 0, message.stderr
    fit_result = read_yaml(tmp_path / "out" / "spec.yaml")
    assert (fit_result["mean"], fit_result["std"]) == ([0.25], [0.5])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "\nbase_model: someone/net\n" in card
    assert "fine-tuned from `hf:someone/net@main`" in card
    assert "normalized as was asked: mean 0.2500, deviation 0.5000" in card
    gone = phinas(
        *common,
        "--weights",
        "hf:someone/net:other.safetensors",
        "--out",
        tmp_path / "gone",
        **offline,
    )
    assert gone.returncode == 2
    assert "weights: hf:someone/net:other.safetensors can't be had" in gone.stderr
    assert not (tmp_path / "gone").exists()


def test_what_pixels_are_normalized_by_decides_what_is_learned(network, tmp_path):
    """The same network, seed and images, once by their own mean and deviation and once by
    others.
    """
    default_normalization, other = (
        run_fit(network, tmp_path / "own"),
        run_fit(network, tmp_path / "other", mean=[0.0], std=[1.0]),
    )
    data = read_yaml(tmp_path / "own" / "spec.yaml")
    assert default_normalization["loss"] != other["loss"]
    same = run_fit(network, tmp_path / "same", mean=data["mean"], std=data["std"])
    assert same["loss"] == default_normalization["loss"]
