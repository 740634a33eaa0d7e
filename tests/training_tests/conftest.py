"""Fixtures of the training tests: prepared digits, short trainings, simulated GPU captures, small
image folders.
"""

from contextlib import contextmanager

import pytest
import torch
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection, Recipe
from phinas.space.pytorch.conv_net import ConvNet
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.image_dataset import load_images
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine import train_step, training_setup
from phinas.training.engine.train import train
from phinas.training.request import TrainingRequest, TrainingSettings

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
    """Function that prepares digits in a directory, with limits on their number."""

    def make(directory, **limits):
        return prepare(DataSection(source="digits", **limits), seed=0, directory=directory)

    return make


@pytest.fixture(scope="session")
def data(tmp_path_factory, digits):
    return digits(tmp_path_factory.mktemp("data"), max_train_images=200, max_validation_images=101)


@pytest.fixture(scope="session")
def fit():
    """Function that trains a network on the CPU; by default a tiny one for two short epochs."""

    def make(
        data,
        *,
        spec=SPEC,
        recipe=SHORT,
        max_shift=0.125,
        horizontal_flip=False,
        metric="accuracy",
        seed=3,
        stop_epoch=None,
        capture="if_possible",
        **options,
    ):
        settings = TrainingSettings(
            max_shift, horizontal_flip, metric, device="cpu", capture=capture
        )
        return train(TrainingRequest(spec, recipe, seed, settings, stop_epoch), data, **options)

    return make


@pytest.fixture(scope="session")
def moments():
    """Function that returns mean and standard deviation of a data set as (1, channels, 1, 1)."""
    return lambda data: (
        torch.tensor(data.mean).view(1, -1, 1, 1),
        torch.tensor(data.std).view(1, -1, 1, 1),
    )


@pytest.fixture(scope="session")
def before_each_pass():
    """Context manager in which `act(images)` is called before each forward pass of a network in
    training mode.
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
    """Function that asserts that two trainings have bit-identical curves and weights."""

    def check(one, two):
        assert one.curve == two.curve
        other = two.model.state_dict()
        for name, tensor in one.model.state_dict().items():
            assert torch.equal(tensor, other[name]), name

    return check


@pytest.fixture
def simulate_capture(monkeypatch):
    """Function that makes trainings on a CPU capture train steps, with a replacement of
    `CudaGraphStep._capture`.
    """

    def replace_capture(capture):
        monkeypatch.setattr(training_setup, "supports_cuda_graphs", lambda _device: True)
        monkeypatch.setattr(train_step.CudaGraphStep, "_capture", staticmethod(capture))

    return replace_capture


@pytest.fixture(scope="session")
def load():
    """Function that loads a source of images with options of the section `data`."""

    def make(source, **options):
        return load_images(DataSection.model_validate({"source": str(source)} | options))

    return make


@pytest.fixture(scope="session")
def load_error(load):
    """Function that returns the one-line message of the InputError that loading a source raises."""

    def make(source, **options):
        with pytest.raises(InputError) as caught:
            load(source, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return make


@pytest.fixture(scope="session")
def save_image():
    """Function that saves an image of one color."""

    def make(path, color=RED, *, size=(8, 8), mode="RGB"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, color).save(path)
        return path

    return make


@pytest.fixture(scope="session")
def two_classes(save_image):
    """Function that writes class folders with red images of cats and blue images of dogs."""

    def make(root, *, count=2):
        for index in range(count):
            save_image(root / "cat" / f"{index}.png", RED)
            save_image(root / "dog" / f"{index}.png", BLUE)
        return root

    return make
