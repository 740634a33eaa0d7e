"""Tests of training: seeds, options, order of images, learning, time estimates."""

import math
from dataclasses import replace

import pytest
import torch

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.loading import load_space
from phinas.training.augmentation.transforms import normalize
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine.device import count_slots, resolve_device
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.trainer import DivergenceError
from phinas.training.request import TrainingRequest, TrainingSettings
from phinas.training.timing.step_timing import time_steps

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=2, batch_size=50)
CPU = torch.device("cpu")


def weights(trained):
    return [tensor.clone() for tensor in trained.model.state_dict().values()]


def test_a_seed_determines_weights_and_scores_bit_exactly(data, fit):
    first, again, other = fit(data), fit(data), fit(data, seed=4)
    assert all(
        torch.equal(one, two) for one, two in zip(weights(first), weights(again), strict=True)
    )
    assert first.curve == again.curve
    assert not torch.equal(first.model.classifier.weight, other.model.classifier.weight)
    assert first.curve != other.curve


def test_the_global_generator_has_no_effect_and_is_unchanged(data, fit):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first = fit(data)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12)
    assert fit(data).curve == first.curve
    request = TrainingRequest(SPEC, SHORT, 0, TrainingSettings(0.125, True, device="cpu"))
    time_steps(request, seconds=0.1, image_size=8)
    torch.manual_seed(12)
    expected = torch.rand(1)
    torch.manual_seed(12)
    time_steps(request, seconds=0.1, image_size=8)
    assert torch.equal(torch.rand(1), expected)


def test_digits_are_learned_in_a_few_epochs(tmp_path, fit, digits):
    trained = fit(digits(tmp_path), recipe=Recipe(epochs=10, batch_size=64), seed=0)
    accuracies = [score.accuracy for score in trained.curve]
    assert len(accuracies) == 10
    assert accuracies[-1] > 0.85
    assert accuracies[-1] > accuracies[0] + 0.2
    assert trained.curve[-1].top5 > 0.97
    assert trained.curve[-1].loss < 1.0


OTHER_OPTIONS = [
    {"epochs": 3},
    {"batch_size": 25},
    {"optimizer": "adamw", "learning_rate": 0.01},
    {"learning_rate": 0.05},
    {"warmup_fraction": 0.9},
    {"weight_decay": 0.1},
    {"label_smoothing": 0.0},
    {"optimizer": "rmsprop", "learning_rate": 0.01},
    {"micro_batch_size": 20},
    {"ema_fraction": 0.5},
    {"min_crop_area": 0.5},
    {"cutout_size": 0.4},
    {"randaugment_magnitude": 0.8},
    {"mixup": 0.5},
    {"cutmix": 0.5},
    {"mixup": 0.5, "cutmix": 0.5},
    {"initial_resolution_fraction": 0.5},
    {"precision": "bf16"},
    {"precision": "fp16"},
]


@pytest.fixture(scope="module")
def plain(data, fit):
    return fit(data)


@pytest.mark.parametrize("change", OTHER_OPTIONS)
def test_every_option_of_a_recipe_changes_the_training(data, change, fit, plain):
    changed = fit(data, recipe=SHORT.model_copy(update=change))
    assert not torch.equal(plain.model.classifier.weight, changed.model.classifier.weight)
    assert all(math.isfinite(score.loss) for score in changed.curve)


@pytest.mark.parametrize(
    "change", [{"max_shift": 0.25}, {"horizontal_flip": True}, {"max_shift": 0.0}]
)
def test_the_augmentation_changes_the_training(data, change, fit, plain):
    assert fit(data, **change).curve != plain.curve


@pytest.fixture(scope="module")
def record_batches(fit):
    """Function that trains a network and returns its augmented and normalized batches."""

    def train_and_record(data, spec, *, seed=3, recipe=SHORT, max_shift=0.25, horizontal_flip=True):
        batches = []

        def record(network, inputs):
            if network.training:
                batches.append(inputs[0].clone())

        def add_hook(network):
            network.register_forward_pre_hook(record)

        fit(
            data,
            spec=spec,
            seed=seed,
            recipe=recipe,
            max_shift=max_shift,
            horizontal_flip=horizontal_flip,
            initialization=Initialization(add_hook),
        )
        return batches

    return train_and_record


def test_networks_with_one_seed_see_the_same_augmented_images_in_the_same_order(
    data, record_batches
):
    wide = replace(SPEC, head_width=96, dropout=0.5, drop_path=0.3)
    one, two, other = (
        record_batches(data, spec, seed=seed) for spec, seed in ((SPEC, 3), (wide, 3), (SPEC, 4))
    )
    assert len(one) == len(two) == 8
    assert all(torch.equal(*images) for images in zip(one, two, strict=True))
    assert not any(torch.equal(*images) for images in zip(one, other, strict=True))


def test_networks_of_different_resolutions_see_the_same_images_in_the_same_order(
    data, record_batches
):
    """Resizing hardly changes the mean of an image."""
    one, two = (
        record_batches(data, replace(SPEC, resolution=resolution)) for resolution in (8, 16)
    )
    assert two[0].shape[-1] == 16
    for small, large in zip(one, two, strict=True):
        assert torch.allclose(small.mean((1, 2, 3)), large.mean((1, 2, 3)), atol=0.15)


def test_an_epoch_has_every_image_once_and_the_next_epoch_another_order(
    data, moments, record_batches
):
    batches = record_batches(data, SPEC, max_shift=0.0, horizontal_flip=False)
    sums = torch.cat(batches).double().sum((1, 2, 3)).round(decimals=3)
    stored = normalize(
        ImageBatches(*data.train_val_arrays()[:2], resolution=8, device=CPU).take(
            torch.arange(200)
        ),
        *moments(data),
    )
    expected = stored.double().sum((1, 2, 3)).round(decimals=3).sort().values
    first, second = sums[:200], sums[200:]
    assert torch.allclose(first.sort().values, expected)
    assert torch.allclose(second.sort().values, expected)
    assert not torch.allclose(first, second)


def test_fewer_images_than_a_batch_are_one_batch_with_a_scaled_learning_rate(
    tmp_path, fit, digits, record_batches
):
    few = digits(tmp_path, max_train_images=40, max_validation_images=20)
    huge = Recipe(epochs=2, batch_size=100_000)
    trained = fit(few, recipe=huge)
    assert all(math.isfinite(score.loss) for score in trained.curve)
    exact = fit(few, recipe=Recipe(epochs=2, batch_size=40))
    assert all(
        torch.equal(one, two) for one, two in zip(weights(trained), weights(exact), strict=True)
    )
    assert [len(images) for images in record_batches(few, SPEC, recipe=huge)] == [40, 40]


def test_a_loss_that_is_not_finite_is_an_error_with_the_epoch(data, fit):
    with pytest.raises(
        DivergenceError, match=r"^the loss was (nan|inf) in epoch 1 of 2; lower the learning rate$"
    ):
        fit(data, recipe=SHORT.model_copy(update={"learning_rate": 1e30}))


def test_a_stopped_training_equals_the_first_epochs_of_the_full_training(data, fit):
    """The learning rate follows the schedule of all epochs."""
    recipe, reports = SHORT.model_copy(update={"epochs": 4}), []

    def report(epoch, accuracy):
        reports.append((epoch, accuracy))
        return epoch < 2

    full = fit(data, recipe=recipe)
    stopped = fit(data, recipe=recipe, report=report)
    assert (stopped.stop_reason, full.stop_reason) == ("stopped", "")
    assert stopped.curve == full.curve[:2]
    assert reports == [(1, full.curve[0].accuracy), (2, full.curve[1].accuracy)]
    # two epochs of 200 images
    assert stopped.images_per_second == pytest.approx(2 * 200 / stopped.train_seconds)


def test_normalized_images_have_mean_zero_and_standard_deviation_one(data, moments):
    train_data = ImageBatches(*data.train_val_arrays()[:2], resolution=8, device=CPU)
    images = train_data.take(torch.arange(train_data.count))
    floats = normalize(images, *moments(data))
    assert floats.mean().item() == pytest.approx(0, abs=1e-4)
    assert floats.std().item() == pytest.approx(1, abs=1e-3)


def test_a_missing_device_is_refused():
    with pytest.raises(InputError, match=r"^run\.device: cuda:99 is not available"):
        resolve_device("cuda:99")
    assert resolve_device("cpu") == CPU
    assert count_slots("cpu") >= 1
