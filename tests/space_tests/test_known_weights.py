"""Tests that the normalization and the fields of published weights are those of their libraries."""

import re

import pytest
import torch
from torch import nn

from phinas.space.interchange.known_weights import (
    NORMALIZATIONS,
    adapt_normalization,
    identify_weights,
)
from phinas.space.interchange.library_models import LIBRARY_MODELS


def naming_of(library, name):
    if "resnet" in name:
        return "ResNet"
    if library == "timm":
        return "timm.EfficientNet"
    kinds = {"efficientnet": "EfficientNet", "mobilenet": "MobileNetV2", "mnasnet": "MNASNet"}
    return f"torchvision.{next(kind for key, kind in kinds.items() if name.startswith(key))}"


def names_in_timm(timm):
    for key in LIBRARY_MODELS:
        library, _, model = key.partition(":")
        if library == "timm":
            yield from (name for name in timm.list_pretrained(f"{model}.*"))


def test_every_weights_name_of_timm_has_the_normalization_of_timm(timm):
    names = list(names_in_timm(timm))
    assert len(names) > 100
    for name in names:
        config = timm.models.get_pretrained_cfg(name)
        known = identify_weights(naming_of("timm", name), [name])
        assert known is not None, name
        assert NORMALIZATIONS[known.normalization] == (config.mean, config.std), name


def test_downloaded_files_of_timm_have_the_normalization_of_timm(timm):
    number = 0
    for name in names_in_timm(timm):
        config = timm.models.get_pretrained_cfg(name)
        file = (config.url or "").rpartition("/")[2].removesuffix(".pth")
        known = identify_weights(naming_of("timm", name), [file])
        if not file or known is None:
            continue  # some have other names, such as rw_resnet50
        number += 1
        assert NORMALIZATIONS[known.normalization] == (config.mean, config.std), file
    assert number > 80


def test_downloaded_files_of_torchvision_have_its_normalization(torchvision):
    number = 0
    for class_name in torchvision.models.list_models(module=torchvision.models):
        weights_class = torchvision.models.get_model_weights(class_name)
        if f"torchvision:{class_name}" not in LIBRARY_MODELS:
            continue
        for weights in weights_class:
            transform = weights.transforms()
            file = weights.url.rpartition("/")[2].removesuffix(".pth")
            known = identify_weights(naming_of("torchvision", class_name), [file])
            assert known is not None, file
            mean, std = NORMALIZATIONS[known.normalization]
            assert (list(mean), list(std)) == (transform.mean, transform.std), file
            number += 1
    assert number > 20


@pytest.mark.parametrize(
    ("name", "normalization"),
    [
        ("efficientnet-b0-355c32eb", "imagenet"),
        ("efficientnet-b8-22a8fe65", "imagenet"),
        ("adv-efficientnet-b0-b64d5a18", "half"),
        ("efficientnet-lite0-57934424", "half"),
        ("preset:efficientnet_lite0", "half"),
        ("preset:efficientnet_b3", "imagenet"),
    ],
)
def test_weights_of_efficientnet_pytorch_are_known(name, normalization):
    known = identify_weights("EfficientNet-PyTorch", [name])
    assert known is not None
    assert known.normalization == normalization


@pytest.mark.parametrize(
    ("name", "padding", "bn_eps"),
    [
        ("tf_efficientnet_b0.ns_jft_in1k", "same", 1e-3),
        ("efficientnet_b0.ra_in1k", "symmetric", 1e-5),
        ("mobilenetv2_100_ra-b33bc2c4", "symmetric", 1e-5),
    ],
)
def test_fields_that_the_tensors_do_not_show_are_known(name, padding, bn_eps, timm):
    known = identify_weights("timm.EfficientNet", [name])
    assert known.fields == {"padding": padding, "bn_eps": bn_eps}
    model = timm.create_model(re.split(r"[.]|_ra-", name)[0])
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms[0].eps == bn_eps
    assert (type(model.conv_stem) is nn.Conv2d) == (padding == "symmetric")


@pytest.mark.parametrize(
    ("naming", "name"),
    [
        ("timm.EfficientNet", "weights"),
        ("timm.EfficientNet", "preset:efficientnet_b0"),  # or tf_efficientnet_b0
        ("timm.EfficientNet", "torchvision:efficientnet_b0"),
        ("torchvision.EfficientNet", "timm:efficientnet_b0"),
        ("timm.EfficientNet", "efficientnet_b0x"),
        ("phinas", "timm:efficientnet_b0"),
        ("EfficientNet-PyTorch", "weights"),
    ],
)
def test_other_weights_are_unknown(naming, name):
    assert identify_weights(naming, [name]) is None


def test_the_first_known_name_decides():
    names = ["weights", "tf_efficientnet_lite0", "timm:efficientnet_b0"]
    known = identify_weights("timm.EfficientNet", names)
    assert known.name == "timm:tf_efficientnet_lite0"


def test_a_normalization_for_other_channels_is_averaged_or_repeated():
    mean = (0.485, 0.456, 0.406)
    assert adapt_normalization(mean, 3) == mean
    assert adapt_normalization(mean, 1) == pytest.approx((torch.tensor(mean).mean().item(),))
    assert adapt_normalization(mean, 4) == (*mean, 0.485)
    assert adapt_normalization((0.5,), 3) == (0.5, 0.5, 0.5)
