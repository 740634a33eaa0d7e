"""What tests of trainings share: digits on disk, a training of them, one thread."""

import pytest
import torch

from experiment.config import DataSection, Recipe
from space.loading import load_space
from training.loop import train
from training.prepared import prepare

SPEC = load_space("tiny").fitted(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=2, batch=50)


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    """Digits, prepared in a directory, so many of them."""

    def make(directory, **limits):
        return prepare(DataSection(source="digits", **limits), seed=0, directory=directory)

    return make


@pytest.fixture(scope="session")
def data(tmp_path_factory, digits):
    return digits(tmp_path_factory.mktemp("data"), train_limit=200, validation_limit=101)


@pytest.fixture(scope="session")
def fit():
    """Two short epochs of a tiny network, unless told otherwise."""

    def make(data, *, spec=SPEC, recipe=SHORT, shift=0.125, flip=False, seed=3, **options):
        device = torch.device("cpu")
        return train(spec, data, recipe=recipe, shift=shift, flip=flip, seed=seed, device=device, **options)

    return make


@pytest.fixture(scope="session")
def moments():
    """Mean and deviation of a data set, to be broadcast."""
    return lambda data: (torch.tensor(data.mean).view(1, -1, 1, 1), torch.tensor(data.std).view(1, -1, 1, 1))
