"""The configurations that are shipped: they are legal and state only what differs from defaults."""

import math
from pathlib import Path

import pytest

from phinas.experiment.schema.config import Config, flatten_section, load_config
from phinas.experiment.schema.user_keys import user_keys
from phinas.options.names import expand_names
from phinas.space.search_spaces.loading import load_space

FOLDER = Path(__file__).parents[2] / "experiment" / "configs"
FILES = sorted(FOLDER.glob("*.yaml"))
IMAGE_SIZES = {"digits": 8, "cifar10": 32}


def load(file: Path) -> Config:
    return load_config(file, expand_values=expand_names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_sets_only_what_differs_from_the_defaults(file):
    config = load(file)
    defaults = flatten_section(Config.model_validate({"data": {"source": config.data.source}}))
    values = flatten_section(config)
    written = user_keys(config) - {"data.source"}
    repeated = {key for key in written if key in defaults and values[key] == defaults[key]}
    # A named recipe sets all of its keys.
    assert {key for key in repeated if "recipe" not in key} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_candidates_leave_room_for_a_higher_resolution_and_are_not_enlarged(file):
    config = load(file)
    image_size = IMAGE_SIZES[config.data.source]
    assert config.search.resolution <= image_size
    assert config.data.upsample or config.search.resolution < image_size


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_candidates_can_be_built_at_the_resolution_of_the_example(file):
    config = load(file)
    space = load_space(config.search.space).adapt_to(
        channels=1, classes=10, resolution=config.search.resolution
    )
    assert space.base.resolution == config.search.resolution


def test_every_member_of_the_quick_start_is_trained():
    config = load(FOLDER / "quick.yaml")
    largest = math.pow(config.scaling.flops_multiple, max(config.scaling.phi))
    assert largest <= config.validation.max_flops_multiple


def test_the_quick_start_has_more_test_than_training_images():
    # With few test images, the gain of a larger network is within their sampling error.
    data = load(FOLDER / "quick.yaml").data
    digits = 1797
    assert data.max_train_images < data.test_fraction * digits
