"""Tests of training requests and settings."""

import json

import pytest

from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.job import TrainingJobFactory
from phinas.training.request import TrainingRequest, TrainingSettings

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SETTINGS = TrainingSettings(
    0.1, True, metric="macro_f1", device="cpu", threads=3, deterministic=True
)
RECIPE = Recipe(epochs=4, min_crop_area=0.5, cutout_size=0.2, randaugment_magnitude=0.3)


@pytest.mark.parametrize("stop_epoch", [None, 2])
def test_a_request_round_trips_through_json(stop_epoch):
    request = TrainingRequest(SPEC, RECIPE, 2**32 - 1, SETTINGS, stop_epoch)
    assert TrainingRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request
    assert request.last_epoch == (stop_epoch or 4)


def test_augmentation_has_the_options_of_settings_and_recipe():
    augmentation = TrainingRequest(SPEC, RECIPE, 0, SETTINGS).augmentation
    assert (augmentation.max_shift, augmentation.horizontal_flip) == (0.1, True)
    assert (augmentation.min_crop_area, augmentation.cutout_size) == (0.5, 0.2)
    assert augmentation.randaugment_magnitude == 0.3


def test_settings_have_the_values_of_the_configuration(data):
    factory = TrainingJobFactory.from_config(
        data,
        DataSection(source="digits", max_shift=0.2, horizontal_flip=True),
        run=RunSection(device="cpu", deterministic=True),
        threads=2,
        checkpoints=None,
        metric="balanced_accuracy",
    )
    assert factory.settings == TrainingSettings(
        0.2, True, metric="balanced_accuracy", device="cpu", threads=2, deterministic=True
    )
