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
    still = {"recipe.epochs": 1, "recipe.learning_rate": 1e-6, "normalization": "data"}
    before = float(table(trained / "curve.csv")[-1]["accuracy"])
    for path in (ours, tmp_path / "timm.safetensors"):
        run_fit(network, tmp_path / path.stem, weights=str(path), **still)
        (row,) = table(tmp_path / path.stem / "curve.csv")
        assert float(row["accuracy"]) == pytest.approx(before, abs=0.05)
    assert before > 0.2  # twice that of a guess
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
        "normalization": "data",
    }
    front.fit(str(network), data="digits", out=tmp_path / "out", settings=settings)
    message = "has 7 classes and the data set has 10; the classifier is reinitialized"
    assert message in " ".join(capfd.readouterr().err.split())
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


def test_weights_are_refused_before_images_are_read(tmp_path, network, monkeypatch):
    def prepare(*_arguments, **_keywords):
        raise AssertionError("images were read")

    monkeypatch.setattr("phinas.training.data.prepared_dataset.prepare", prepare)
    wide = replace(SPEC, stem_width=16)
    torch.save({"state_dict": wide.build().state_dict()}, tmp_path / "wide.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("wide", "empty", "text"):
        with pytest.raises(InputError, match=rf"{name}\.pth: "):
            run_fit(network, tmp_path / "out", weights=str(tmp_path / f"{name}.pth"))
        assert not (tmp_path / "out").exists()


def test_the_normalization_of_unknown_weights_is_asked_for(tmp_path, network):
    torch.save(SPEC.build().state_dict(), tmp_path / "own.pth")
    settings = {"weights": str(tmp_path / "own.pth"), "recipe.epochs": 1}
    message = (
        r"normalization: \S+own.pth does not say how its images were normalized; use "
        r"--normalization imagenet "
    )
    with pytest.raises(InputError, match=message):
        run_fit(network, tmp_path / "out", **settings)
    run_fit(network, tmp_path / "out", **settings, normalization="half")
    steps = TrainedNetwork.read(tmp_path / "out" / "spec.yaml").preprocessing
    assert (steps.mean, steps.std) == ((0.5,), (0.5,))


def test_the_weights_of_a_fit_bring_their_normalization(trained, tmp_path, network, capfd):
    weights = trained / "weights.safetensors"
    call = {"data": "digits", "settings": {"weights": str(weights), "recipe.epochs": 1}}
    call["settings"] |= {"threads": 1, "recipe.batch_size": 32, "data.max_train_images": 200}
    front.fit(str(network), out=tmp_path / "out", **call)
    before, after = (
        TrainedNetwork.read(folder / "spec.yaml").preprocessing
        for folder in (trained, tmp_path / "out")
    )
    assert (after.mean, after.std) == (before.mean, before.std)
    output = " ".join(capfd.readouterr().err.split())
    assert "weights.safetensors: tensors named as in phinas" in output
    assert "(header of the weights)" in output
    assert "(header of the weights)" in (tmp_path / "out" / "README.md").read_text()
    # the same call returns the result
    front.fit(str(network), out=tmp_path / "out", **call)


def test_a_network_gets_the_padding_of_its_weights(tmp_path, capfd):
    source = replace(SPEC, padding="same")
    save_weights(source.build(), source, tmp_path / "same.safetensors")
    (tmp_path / "small.yaml").write_text(SPEC.to_yaml())
    settings = {"recipe.epochs": 1, "normalization": "data", "data.max_train_images": 64}
    settings |= {"weights": str(tmp_path / "same.safetensors"), "threads": 1}
    front.fit(str(tmp_path / "small.yaml"), data="digits", out=tmp_path / "out", settings=settings)
    assert TrainedNetwork.read(tmp_path / "out" / "spec.yaml").spec.padding == "same"
    message = " ".join(capfd.readouterr().err.split())
    assert "was trained with padding: same (how convolutions pad their input)" in message
    assert "; the network is changed to the same" in message


def test_normalization_and_mean_exclude_each_other(tmp_path, network):
    settings = {"normalization": "half", "mean": [0.5], "std": [0.5]}
    with pytest.raises(InputError, match="normalization: 'half' and mean are both given"):
        run_fit(network, tmp_path / "out", **settings)


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
    steps = TrainedNetwork.read(tmp_path / "out" / "spec.yaml").preprocessing
    assert (steps.mean, steps.std) == ((0.25,), (0.5,))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "\nbase_model: someone/net\n" in card
    assert "fine-tuned from `hf:someone/net@main`" in card
    assert "normalized by mean 0.2500 and standard deviation 0.5000 (mean and std)" in card
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
    trained = TrainedNetwork.read(tmp_path / "own" / "spec.yaml").preprocessing
    assert default_normalization.measurement.loss != other.measurement.loss
    same = run_fit(network, tmp_path / "same", mean=list(trained.mean), std=list(trained.std))
    assert same.measurement.loss == default_normalization.measurement.loss
