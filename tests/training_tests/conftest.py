"""What tests of trainings share: digits on disk, a training of them, what befalls it, one
thread.
"""

from contextlib import contextmanager

import pytest
import torch
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection, Recipe
from phinas.space.blocks import ConvNet
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.image_dataset import load_images
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine import train_step, trainer
from phinas.training.engine.train import train
from phinas.training.timing import time_estimate

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
RED, BLUE = (220, 20, 20), (20, 20, 220)
SHORT = Recipe(epochs=2, batch_size=50)


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
    return digits(tmp_path_factory.mktemp("data"), max_train_images=200, max_validation_images=101)


@pytest.fixture(scope="session")
def fit():
    """Two short epochs of a tiny network, unless told otherwise."""

    def make(
        data, *, spec=SPEC, recipe=SHORT, max_shift=0.125, horizontal_flip=False, seed=3, **options
    ):
        device = torch.device("cpu")
        return train(
            spec,
            data,
            recipe=recipe,
            max_shift=max_shift,
            horizontal_flip=horizontal_flip,
            seed=seed,
            device=device,
            **options,
        )

    return make


@pytest.fixture(scope="session")
def moments():
    """Mean and deviation of a data set, to be broadcast."""
    return lambda data: (
        torch.tensor(data.mean).view(1, -1, 1, 1),
        torch.tensor(data.std).view(1, -1, 1, 1),
    )


@pytest.fixture(scope="session")
def before_each_pass():
    """A context in which `act(images)` is called whenever a network in training is given a
    batch.
    """

    @contextmanager
    def make(act):
        def hook(module, inputs):
            if isinstance(module, ConvNet) and module.training:
                act(inputs[0])

        handle = register_module_forward_pre_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    return make


@pytest.fixture(scope="session")
def assert_same():
    """That two trainings came to the same, bit by bit."""

    def check(one, two):
        assert one.curve == two.curve
        other = two.model.state_dict()
        for name, tensor in one.model.state_dict().items():
            assert torch.equal(tensor, other[name]), name

    return check


@pytest.fixture
def capturing(monkeypatch):
    """Trainings as on a GPU, but that a step is captured and replayed by what is given here."""

    def by(capture):
        for module in (trainer, time_estimate):
            monkeypatch.setattr(module, "supports_cuda_graphs", lambda _device: True)
        monkeypatch.setattr(train_step.CudaGraphStep, "_capture", staticmethod(capture))

    return by


@pytest.fixture(scope="session")
def load():
    """Loads a source of images with the given options of the section `data`."""

    def make(source, **options):
        return load_images(DataSection.model_validate({"source": str(source)} | options))

    return make


@pytest.fixture(scope="session")
def load_error(load):
    """The one-line message of the InputError that loading a source raises."""

    def make(source, **options):
        with pytest.raises(InputError) as caught:
            load(source, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return make


@pytest.fixture(scope="session")
def save_image():
    """Saves an image of one color."""

    def make(path, color=RED, *, size=(8, 8), mode="RGB"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, color).save(path)
        return path

    return make


@pytest.fixture(scope="session")
def two_classes(save_image):
    """Red cats and blue dogs in class folders."""

    def make(root, *, count=2):
        for index in range(count):
            save_image(root / "cat" / f"{index}.png", RED)
            save_image(root / "dog" / f"{index}.png", BLUE)
        return root

    return make
