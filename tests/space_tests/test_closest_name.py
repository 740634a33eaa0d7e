"""Suggestions for mistyped names."""

import pytest

from phinas.space.closest_name import closest_name, suggest_name
from phinas.space.presets import PRESETS


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("efficientnet_bo", "efficientnet_b0"),
        ("efficientnet-b3", "efficientnet_b3"),
        ("EfficientNet_BO", "efficientnet_b0"),
        ("resnet50", "resnet_50"),
        ("mobilenet_vl", "mobilenet_v1"),
    ],
)
def test_the_preset_that_a_mistyped_name_means_is_suggested(text, name):
    assert closest_name(text, PRESETS) == name


def test_of_equally_similar_names_the_nearest_in_length_is_suggested():
    assert closest_name("rum", ["resume", "run"]) == "run"


def test_nothing_is_suggested_for_a_word_that_is_no_typing_error():
    assert closest_name("photos", PRESETS) is None
    assert suggest_name("photos", PRESETS) == ""
