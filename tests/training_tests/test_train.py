"""Training: what a seed decides, that something is learned, and what is measured how."""

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
from phinas.training.timing.time_estimate import estimate_training_seconds

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=2, batch_size=50)
CPU = torch.device("cpu")


def weights(trained):
    return [tensor.clone() for tensor in trained.model.state_dict().values()]


def test_a_seed_decides_weights_and_accuracies_to_the_bit(data, fit):
    first, again, other = fit(data), fit(data), fit(data, seed=4)
    assert all(
        torch.equal(one, two) for one, two in zip(weights(first), weights(again), strict=True)
    )
    assert first.curve == again.curve
    assert not torch.equal(first.model.classifier.weight, other.model.classifier.weight)
    assert first.curve != other.curve


def test_the_global_generator_neither_decides_nor_is_changed(data, fit):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first = fit(data)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12)
    assert fit(data).curve == first.curve
    estimate_training_seconds(
        SPEC, SHORT, train_images=100, val_images=50, device=CPU, threads=1, steps=1
    )
    torch.manual_seed(12)
    expected = torch.rand(1)
    torch.manual_seed(12)
    estimate_training_seconds(
        SPEC, SHORT, train_images=100, val_images=50, device=CPU, threads=1, steps=1
    )
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
def seen_by(fit):
    """Every batch that a network is trained on, normalized and augmented."""

    def see(data, spec, *, seed=3, recipe=SHORT, max_shift=0.25, horizontal_flip=True):
        batches = []

        def look(network, inputs):
            if network.training:
                batches.append(inputs[0].clone())

        def watch(network):
            network.register_forward_pre_hook(look)

        fit(
            data,
            spec=spec,
            seed=seed,
            recipe=recipe,
            max_shift=max_shift,
            horizontal_flip=horizontal_flip,
            initialization=Initialization(watch),
        )
        return batches

    return see


def test_networks_of_one_seed_see_the_same_images_in_the_same_order_augmented_alike(data, seen_by):
    wide = replace(SPEC, head_width=96, dropout=0.5, drop_path=0.3)
    one, two, other = (
        seen_by(data, spec, seed=seed) for spec, seed in ((SPEC, 3), (wide, 3), (SPEC, 4))
    )
    assert len(one) == len(two) == 8
    assert all(torch.equal(images, too) for images, too in zip(one, two, strict=True))
    assert not any(torch.equal(images, others) for images, others in zip(one, other, strict=True))


def test_networks_of_other_resolutions_see_the_same_images_in_the_same_order(data, seen_by):
    """Their means are nearly unchanged by the resizing."""
    one, two = (seen_by(data, replace(SPEC, resolution=resolution)) for resolution in (8, 16))
    assert two[0].shape[-1] == 16
    for small, large in zip(one, two, strict=True):
        assert torch.allclose(small.mean((1, 2, 3)), large.mean((1, 2, 3)), atol=0.15)


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order(data, moments, seen_by):
    batches = seen_by(data, SPEC, max_shift=0.0, horizontal_flip=False)
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


def test_fewer_images_than_a_batch_are_one_batch_with_the_learning_rate_of_their_number(
    tmp_path, fit, digits, seen_by
):
    few = digits(tmp_path, max_train_images=40, max_validation_images=20)
    huge = Recipe(epochs=2, batch_size=100_000)
    trained = fit(few, recipe=huge)
    assert all(math.isfinite(score.loss) for score in trained.curve)
    as_many = fit(few, recipe=Recipe(epochs=2, batch_size=40))
    assert all(
        torch.equal(one, two) for one, two in zip(weights(trained), weights(as_many), strict=True)
    )
    assert [len(images) for images in seen_by(few, SPEC, recipe=huge)] == [40, 40]


def test_a_loss_that_is_not_finite_ends_the_training_naming_the_epoch(data, fit):
    with pytest.raises(
        DivergenceError, match=r"^the loss was (nan|inf) in epoch 1 of 2; lower the learning rate$"
    ):
        fit(data, recipe=SHORT.model_copy(update={"learning_rate": 1e30}))


def test_a_training_reports_each_epoch_and_when_stopped_is_the_beginning_of_the_whole_one(
    data, fit
):
    """Were the schedule that of the epochs trained, the second epoch would have another learning
    rate.
    """
    recipe, heard = SHORT.model_copy(update={"epochs": 4}), []

    def report(epoch, accuracy):
        heard.append((epoch, accuracy))
        return epoch < 2

    whole = fit(data, recipe=recipe)
    stopped = fit(data, recipe=recipe, report=report)
    assert (stopped.stop_reason, whole.stop_reason) == ("stopped", "")
    assert stopped.curve == whole.curve[:2]
    assert heard == [(1, whole.curve[0].accuracy), (2, whole.curve[1].accuracy)]
    # The pace is of the epochs that were trained: 4 steps of 50 images each.
    assert stopped.images_per_second == pytest.approx(2 * 200 / stopped.train_seconds)


def test_images_reach_the_network_with_mean_zero_and_deviation_one(data, moments):
    held = ImageBatches(*data.train_val_arrays()[:2], resolution=8, device=CPU)
    floats = normalize(held.take(torch.arange(held.count)), *moments(data))
    assert floats.mean().item() == pytest.approx(0, abs=1e-4)
    assert floats.std().item() == pytest.approx(1, abs=1e-3)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"^run\.device: cuda:99 is not there"):
        resolve_device("cuda:99")
    assert resolve_device("cpu") == CPU
    assert count_slots("cpu") >= 1


def test_a_predicted_time_grows_with_epochs_and_images():
    short, long = (
        estimate_training_seconds(
            SPEC,
            Recipe(epochs=epochs, batch_size=50),
            train_images=train,
            val_images=100,
            device=CPU,
            threads=1,
        )
        for epochs, train in ((1, 500), (10, 5000))
    )
    assert 0 < 8 * short < long
