"""`phinas fit --weights`: fine-tuning from the weights of another training."""

import csv
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import phinas as front
from phinas.experiment.artifacts.fit import TrainedNetwork
from phinas.experiment.errors import InputError
from phinas.space.interchange.state_dict_maps import to_library_state_dict
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.weights_io import save_weights

pytestmark = pytest.mark.usefixtures("restore_torch_threads")

# timm's stem has stride 2
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


def test_fine_tuning_starts_from_weights_in_phinas_or_timm_naming(trained, network, tmp_path):
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


def test_frozen_backbone_trains_only_the_reinitialized_classifier(tmp_path, network, capfd):
    other = replace(SPEC, classes=7)
    torch.manual_seed(1)
    model = other.build()
    save_weights(model, other, tmp_path / "seven.safetensors")
    settings = {
        "recipe": "quick",
        "weights": str(tmp_path / "seven.safetensors"),
        "freeze_backbone": True,
        "threads": 1,
    }
    front.fit(str(network), data="digits", out=tmp_path / "out", settings=settings)
    message = "has a different number of classes than the data set (10); the classifier is "
    assert f"{message}reinitialized" in " ".join(capfd.readouterr().err.split())
    after = load_file(tmp_path / "out" / "weights.safetensors")
    before = model.state_dict()
    changed = {
        name
        for name in before
        if before[name].shape != after[name].shape or not torch.equal(before[name], after[name])
    }
    assert changed == {"classifier.weight", "classifier.bias"}
    assert "only the classifier was trained" in (tmp_path / "out" / "README.md").read_text()


def test_weights_of_another_network_are_refused_with_name_and_shapes(tmp_path, network):
    wide = replace(SPEC, stem_width=16)
    save_weights(wide.build(), wide, tmp_path / "wide.safetensors")
    message = r"stem\.conv\.weight is \(16, 1, 3, 3\) in the file and \(8, 1, 3, 3\) in the network"
    with pytest.raises(InputError, match=message):
        run_fit(network, tmp_path / "out", weights=str(tmp_path / "wide.safetensors"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_weights_of_the_hub_and_their_normalization_are_used_and_recorded(
    trained, network, tmp_path, phinas
):
    pytest.importorskip("huggingface_hub", reason="the extra `hf` is not installed")
    # the download cache of its library
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
    network = TrainedNetwork.read(tmp_path / "out" / "spec.yaml")
    assert (network.mean, network.std) == ((0.25,), (0.5,))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "\nbase_model: someone/net\n" in card
    assert "fine-tuned from `hf:someone/net@main`" in card
    assert "normalized by the requested statistics: mean 0.2500, standard deviation 0.5000" in card
    gone = phinas(
        *common,
        "--weights",
        "hf:someone/net:other.safetensors",
        "--out",
        tmp_path / "gone",
        **offline,
    )
    assert gone.returncode == 2
    assert "weights: hf:someone/net:other.safetensors could not be downloaded" in gone.stderr
    assert not (tmp_path / "gone").exists()


def test_normalization_decides_the_training(network, tmp_path):
    """The same network, seed and images, once normalized by their own mean and deviation and once
    by others.
    """
    default_normalization, other = (
        run_fit(network, tmp_path / "own"),
        run_fit(network, tmp_path / "other", mean=[0.0], std=[1.0]),
    )
    trained = TrainedNetwork.read(tmp_path / "own" / "spec.yaml")
    assert default_normalization.measurement.loss != other.measurement.loss
    same = run_fit(network, tmp_path / "same", mean=list(trained.mean), std=list(trained.std))
    assert same.measurement.loss == default_normalization.measurement.loss
