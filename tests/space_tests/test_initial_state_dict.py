"""Tests of initial weights for other channels and classes than those of the weights."""

from dataclasses import replace

import pytest
import torch

from phinas.space.interchange.initial_state_dict import adapt_stem, to_initial_state_dict
from phinas.space.interchange.library_models import library_spec
from phinas.space.interchange.state_dict_maps import to_library_state_dict
from phinas.space.interchange.state_dict_namings import WeightsError

SPEC = replace(library_spec("timm:test_efficientnet"), classes=7)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return to_library_state_dict(SPEC.build().state_dict(), SPEC, "timm")


def without_classifier(state):
    return {name: t for name, t in state.items() if not name.startswith("classifier.")}


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7])
def test_the_stem_is_adapted_as_timm_does(channels, timm):
    weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    expected = timm.models.adapt_input_conv(channels, weight)
    torch.testing.assert_close(adapt_stem(weight, channels), expected)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_stem_for_one_channel_has_the_same_output_for_gray_images(channels):
    weight = torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    adapted = adapt_stem(weight, channels)
    torch.testing.assert_close(adapted.sum(1, keepdim=True), weight)


def test_a_model_with_an_adapted_stem_is_that_of_timm(timm):
    torch.manual_seed(1)
    color = timm.create_model("test_efficientnet")
    gray = timm.create_model("test_efficientnet", in_chans=1).eval()
    state = color.state_dict()
    state["conv_stem.weight"] = timm.models.adapt_input_conv(1, state["conv_stem.weight"])
    gray.load_state_dict(state)
    spec = replace(library_spec("timm:test_efficientnet"), channels=1)
    model = spec.build().eval()
    initial = to_initial_state_dict(color.state_dict(), spec)
    assert (initial.file_channels, initial.has_classifier) == (3, True)
    model.load_state_dict(initial.tensors)
    images = torch.randn(2, 1, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), gray(images), rtol=1e-4, atol=1e-5)


def test_the_classifier_of_the_same_number_of_classes_is_used(state):
    initial = to_initial_state_dict(state, SPEC)
    assert initial.has_classifier
    assert initial.file_classes == 7
    assert initial.tensors["classifier.weight"] is state["classifier.weight"]
    assert initial.tensors.keys() == SPEC.build().state_dict().keys()


@pytest.mark.parametrize(
    ("change", "file_classes"),
    [
        (lambda state: state, 7),
        (without_classifier, None),
        (
            lambda state: (
                without_classifier(state)
                | {"classifier.0.weight": torch.ones(9, 256), "classifier.2.bias": torch.ones(2)}
            ),
            None,
        ),
        (
            lambda state: (
                without_classifier(state)
                | {"fc.weight": torch.ones(4, 256), "fc.bias": torch.ones(4)}
            ),
            None,
        ),
        (
            lambda state: {n: t for n, t in state.items() if n != "classifier.bias"},
            None,
        ),
    ],
    ids=["other number of classes", "absent", "two layers", "other name", "no bias"],
)
def test_a_classifier_that_does_not_fit_is_left_out(change, file_classes, state):
    initial = to_initial_state_dict(change(state), replace(SPEC, classes=3))
    assert not initial.has_classifier
    assert initial.file_classes == file_classes
    assert not any(name.startswith("classifier") for name in initial.tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"conv_head.weight": torch.ones(8, 64, 1, 1)},
            r"conv_head.weight \(head.conv.weight\) is \(8, 64, 1, 1\) in the file and "
            r"\(256, 64, 1, 1\) in the network: the weights belong to another spec",
        ),
        ({"extra.weight": torch.ones(2)}, r"extra.weight is \(2,\) in the file and absent in the"),
        (
            {"conv_stem.weight": torch.ones(9, 3, 3, 3), "bn1.bias": torch.ones(9)},
            r"conv_stem.weight .* is \(9, 3, 3, 3\) in the file .*, and 1 more differ: the weights",
        ),
        ({"conv_stem.weight": torch.ones(9)}, r"conv_stem.weight .* is \(9,\) in the file"),
    ],
    ids=["shape", "unknown", "two", "dimensions"],
)
def test_a_backbone_of_another_network_is_refused(change, message, state):
    with pytest.raises(WeightsError, match=message):
        to_initial_state_dict(state | change, SPEC)
