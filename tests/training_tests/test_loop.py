"""Training: what a seed decides, that something is learned, and what is measured how."""

import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from experiment.config import DataSection, Recipe
from experiment.errors import InputError
from experiment.executors.inline import InlineExecutor
from experiment.measurement import Measurement
from space.blocks import build
from space.loading import load_space
from training import loop
from training.augment import normalise
from training.checkpoint import load_weights
from training.device import count_slots, resolve_device
from training.evaluate import evaluate, evaluate_final, to_device
from training.job import Trainer
from training.loop import Augmentation, Diverged, train
from training.optimizer import make_optimizer, make_schedule
from training.prepared import prepare
from training.throughput import training_seconds

SPEC = load_space("tiny").fitted(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=2, batch=50)
CPU = torch.device("cpu")
AUGMENTATION = Augmentation(0.125, False)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def digits(directory, **limits):
    return prepare(DataSection(source="digits", **limits), seed=0, directory=directory)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return digits(tmp_path_factory.mktemp("data"), train_limit=200, validation_limit=101)


def fit(data, *, spec=SPEC, recipe=SHORT, augmentation=AUGMENTATION, seed=3):
    return train(spec, data, recipe=recipe, augmentation=augmentation, seed=seed, device=CPU)


def weights(trained):
    return [tensor.clone() for tensor in trained.model.state_dict().values()]


def test_a_seed_decides_weights_and_accuracies_to_the_bit(data):
    first, again, other = fit(data), fit(data), fit(data, seed=4)
    assert all(torch.equal(one, two) for one, two in zip(weights(first), weights(again), strict=True))
    assert first.curve == again.curve
    assert not torch.equal(first.model.classifier.weight, other.model.classifier.weight)
    assert first.curve != other.curve


def test_the_global_generator_neither_decides_nor_is_changed(data):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first = fit(data)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12)
    assert fit(data).curve == first.curve
    training_seconds(SPEC, SHORT, train=100, validation=50, device=CPU, threads=1, steps=1)
    torch.manual_seed(12)
    expected = torch.rand(1)
    torch.manual_seed(12)
    training_seconds(SPEC, SHORT, train=100, validation=50, device=CPU, threads=1, steps=1)
    assert torch.equal(torch.rand(1), expected)


def test_digits_are_learned_in_a_few_epochs(tmp_path):
    trained = fit(digits(tmp_path), recipe=Recipe(epochs=10, batch=64), seed=0)
    accuracies = [score.accuracy for score in trained.curve]
    assert len(accuracies) == 10
    assert accuracies[-1] > 0.85
    assert accuracies[-1] > accuracies[0] + 0.2
    assert trained.curve[-1].top5 > 0.97
    assert trained.curve[-1].loss < 1.0


OTHER_OPTIONS = [
    {"epochs": 3},
    {"batch": 25},
    {"optimizer": "adamw", "learning_rate": 0.01},
    {"learning_rate": 0.05},
    {"warmup": 0.9},
    {"weight_decay": 0.1},
    {"label_smoothing": 0.0},
]


@pytest.mark.parametrize("change", OTHER_OPTIONS)
def test_every_option_of_a_recipe_changes_the_training(data, change):
    plain = fit(data)
    changed = fit(data, recipe=SHORT.model_copy(update=change))
    assert not torch.equal(plain.model.classifier.weight, changed.model.classifier.weight)
    assert all(math.isfinite(score.loss) for score in changed.curve)


@pytest.mark.parametrize("augmentation", [Augmentation(0.25, False), Augmentation(0.125, True), Augmentation(0.0, False)])
def test_the_augmentation_changes_the_training(data, augmentation):
    assert fit(data, augmentation=augmentation).curve != fit(data).curve


def seen_by(data, spec, monkeypatch, *, seed=3, recipe=SHORT):
    """Every batch that a network is trained on, with its labels."""
    batches = []

    def update(model, images, labels, *arguments, **options):
        batches.append((images.clone(), labels.clone()))
        return original(model, images, labels, *arguments, **options)

    original = loop.update
    with monkeypatch.context() as patched:
        patched.setattr(loop, "update", update)
        fit(data, spec=spec, seed=seed, recipe=recipe, augmentation=Augmentation(0.25, True))
    return batches


def test_networks_of_one_seed_see_the_same_images_in_the_same_order_augmented_alike(data, monkeypatch):
    wide = replace(SPEC, head_width=96, dropout=0.5, drop_path=0.3)
    one, two, other = (seen_by(data, spec, monkeypatch, seed=seed) for spec, seed in ((SPEC, 3), (wide, 3), (SPEC, 4)))
    assert len(one) == len(two) == 8
    for (images, labels), (images_too, labels_too) in zip(one, two, strict=True):
        assert torch.equal(images, images_too)
        assert torch.equal(labels, labels_too)
    assert any(not torch.equal(labels, others) for (_, labels), (_, others) in zip(one, other, strict=True))


def test_networks_of_other_resolutions_see_the_same_order(data, monkeypatch):
    one, two = (seen_by(data, replace(SPEC, resolution=side), monkeypatch) for side in (8, 11))
    assert [labels.tolist() for _, labels in one] == [labels.tolist() for _, labels in two]
    assert two[0][0].shape[-1] == 11


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order(data, monkeypatch):
    batches = seen_by(data, SPEC, monkeypatch, recipe=SHORT)
    labels = torch.cat([labels for _, labels in batches])
    first, second = labels[:200], labels[200:]
    expected = torch.from_numpy(np.array(data.steer_arrays()[1])).sort().values
    assert torch.equal(first.sort().values, expected)
    assert torch.equal(second.sort().values, expected)
    assert not torch.equal(first, second)


def test_fewer_images_than_a_batch_are_one_batch_with_the_learning_rate_of_their_number(tmp_path, monkeypatch):
    few = digits(tmp_path, train_limit=40, validation_limit=20)
    huge = Recipe(epochs=2, batch=100_000)
    trained = fit(few, recipe=huge)
    assert all(math.isfinite(score.loss) for score in trained.curve)
    as_many = fit(few, recipe=Recipe(epochs=2, batch=40))
    assert all(torch.equal(one, two) for one, two in zip(weights(trained), weights(as_many), strict=True))
    assert [len(labels) for _, labels in seen_by(few, SPEC, monkeypatch, recipe=huge)] == [40, 40]


def test_a_loss_that_is_not_finite_ends_the_training_naming_the_epoch(data):
    with pytest.raises(Diverged, match=r"^the loss was (nan|inf) in epoch 1 of 2; lower the learning rate$"):
        fit(data, recipe=SHORT.model_copy(update={"learning_rate": 1e30}))


def trainer_of(data, **options):
    return Trainer.of(data, DataSection(source="digits"), **{"device": "cpu", "threads": 1, "limit_seconds": 60.0} | options)


def carry_out(job):
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job)
        return executor.next_result()


def test_a_diverged_training_is_a_failure_with_that_reason(data):
    result = carry_out(trainer_of(data).job(SPEC, SHORT.model_copy(update={"learning_rate": 1e30}), 1))
    assert result.value is None
    assert result.reason.startswith("the loss was nan in epoch 1 of 2")


def test_a_training_reports_each_epoch_and_when_stopped_is_the_beginning_of_the_whole_one(data):
    """Were the schedule that of the epochs trained, the second epoch would have another learning rate."""
    recipe, heard = SHORT.model_copy(update={"epochs": 4}), []

    def report(epoch, accuracy):
        heard.append((epoch, accuracy))
        return epoch < 2

    whole = fit(data, recipe=recipe)
    stopped = train(SPEC, data, recipe=recipe, augmentation=AUGMENTATION, seed=3, device=CPU, report=report)
    assert stopped.curve == whole.curve[:2]
    assert heard == [(1, whole.curve[0].accuracy), (2, whole.curve[1].accuracy)]
    # The pace is of the epochs that were trained: 4 steps of 50 images each.
    assert stopped.images_per_second == pytest.approx(2 * 200 / stopped.train_seconds)


def test_a_job_that_is_stopped_measures_what_it_has_come_to(data):
    recipe = SHORT.model_copy(update={"epochs": 4})
    with closing(InlineExecutor(1)) as executor:
        executor.submit(trainer_of(data).job(SPEC, recipe, 3), lambda epoch, _: epoch < 3)
        value = executor.next_result().value
    whole = carry_out(trainer_of(data).job(SPEC, recipe, 3)).value
    assert value["epochs"] == len(value["curve"]) == 3
    assert value["curve"] == whole["curve"][:3]
    assert value["accuracy"] == value["curve"][-1]


def test_a_job_measures_as_the_training_does(data):
    trained = fit(data, augmentation=Augmentation(0.125, False))
    value = carry_out(trainer_of(data).job(SPEC, SHORT, 3)).value
    last = trained.curve[-1]
    assert (value["accuracy"], value["top5"], value["images"]) == (last.accuracy, last.top5, 101)
    assert value["loss"] == pytest.approx(last.loss)
    assert value["curve"] == [score.accuracy for score in trained.curve]
    assert (value["split"], value["seed"], value["epochs"], value["device"]) == ("validation", 3, 2, "cpu")
    assert value["train_seconds"] > 0
    assert value["images_per_second"] == pytest.approx(400 / value["train_seconds"])


def test_a_final_job_measures_on_the_test_split_and_leaves_weights_that_score_the_same(data, tmp_path):
    path = tmp_path / "weights.safetensors"
    value = carry_out(trainer_of(data).job(SPEC, SHORT, 3, final=True, weights=path)).value
    assert (value["split"], value["images"]) == ("test", data.test)
    model = build(SPEC)
    load_weights(model, path)
    mean, std = torch.tensor(data.mean).view(1, -1, 1, 1), torch.tensor(data.std).view(1, -1, 1, 1)
    score = evaluate_final(model, data, side=8, mean=mean, std=std)
    assert (score.accuracy, score.correct) == (value["accuracy"], value["correct"])
    images, labels = data.test_arrays()
    with torch.inference_mode():
        logits = model(normalise(to_device(images, side=8, device=CPU), mean, std))
    right = logits.argmax(1).numpy() == labels
    assert 0 < right.sum() < len(right)
    assert np.array_equal(Measurement.from_dict(value).right, right)


def test_only_the_test_split_is_recorded_image_by_image(data):
    assert all(point.correct == "" for point in fit(data).curve)
    assert "correct" not in carry_out(trainer_of(data).job(SPEC, SHORT, 3)).value


class Remembering(nn.Module):
    """Logits that are written in the first pixels of the image."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, images):
        return images[:, 0].flatten(1)[:, : self.classes]


@pytest.mark.parametrize("classes", [2, 4, 5, 9])
@pytest.mark.parametrize("count", [1, 499, 500, 501, 1203])
def test_a_score_is_exact_whatever_the_last_batch(classes, count):
    generator = torch.Generator().manual_seed(count)
    order = torch.stack([torch.randperm(16, generator=generator) for _ in range(count)])
    images = (order * 15).view(count, 1, 4, 4).to(torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=generator)
    ones = torch.ones(1, 1, 1, 1)
    model = Remembering(classes).train()
    score = evaluate(model, images, labels, mean=0 * ones, std=ones)
    logits = order[:, :classes].double() * 15 / 255
    rank = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert score.images == count
    assert score.accuracy == pytest.approx((rank == 0).double().mean().item(), abs=1e-12)
    assert score.top5 == pytest.approx((rank < 5).double().mean().item(), abs=1e-12)
    assert score.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert not model.training


def test_the_learning_rate_warms_up_and_then_falls_as_a_cosine_to_nearly_zero():
    recipe = Recipe(warmup=0.2, batch=256, learning_rate=0.4)
    optimizer = make_optimizer(build(SPEC), recipe)
    schedule = make_schedule(optimizer, recipe, steps=100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:20] == pytest.approx([0.4 * (step + 1) / 20 for step in range(20)])
    assert rates[20] == pytest.approx(0.4)
    assert rates[60] == pytest.approx(0.2)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 <= rates[-1] < 0.001


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 1), (0.0, 5), (0.99, 3), (0.5, 1)])
def test_even_the_shortest_schedule_is_finite_and_starts_above_zero(warmup, steps):
    recipe = Recipe(warmup=warmup)
    optimizer = make_optimizer(build(SPEC), recipe)
    schedule = make_schedule(optimizer, recipe, steps=steps)
    peak = recipe.learning_rate * recipe.batch / 256
    for _ in range(steps):
        assert 0 < optimizer.param_groups[0]["lr"] <= peak
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("recipe", "rate"), [(Recipe(batch=64, learning_rate=0.2), 0.05),
                                              (Recipe(batch=64, learning_rate=0.2, optimizer="adamw"), 0.2)])  # fmt: skip
def test_weight_decay_spares_norms_and_biases_and_sgd_scales_its_rate_with_the_batch(recipe, rate):
    model = build(SPEC)
    groups = make_optimizer(model, recipe).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([rate, rate])
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for parameter in model.parameters():
        assert decay[id(parameter)] == (recipe.weight_decay if parameter.ndim > 1 else 0.0)


def test_a_key_follows_from_what_decides_the_result_and_nothing_else(data, tmp_path):
    key = trainer_of(data).job(SPEC, SHORT, 1).key
    moved = replace(data, directory=tmp_path)
    alike = [
        trainer_of(moved).job(SPEC, SHORT, 1),
        trainer_of(data, device="auto").job(SPEC, SHORT, 1),
        trainer_of(data, threads=7).job(SPEC, SHORT, 1),
        trainer_of(data, limit_seconds=5.0).job(SPEC, SHORT, 1),
        trainer_of(data).job(SPEC, SHORT, 1, weights=tmp_path / "w.safetensors"),
    ]
    assert {job.key for job in alike} == {key}
    different = [
        trainer_of(data).job(SPEC, SHORT, 2),
        trainer_of(data).job(SPEC, SHORT, 1, final=True),
        trainer_of(data).job(replace(SPEC, dropout=0.3), SHORT, 1),
        trainer_of(replace(data, fingerprint="other")).job(SPEC, SHORT, 1),
        replace(trainer_of(data), shift=0.3).job(SPEC, SHORT, 1),
        replace(trainer_of(data), flip=True).job(SPEC, SHORT, 1),
        *[trainer_of(data).job(SPEC, SHORT.model_copy(update=change), 1) for change in OTHER_OPTIONS],
    ]
    assert len({key, *(job.key for job in different)}) == 1 + len(different)


def test_flipping_is_left_to_the_data_unless_it_is_configured(data):
    assert trainer_of(data).flip is data.mirror is False
    forced = Trainer.of(data, DataSection(source="digits", flip=True), device="cpu", threads=1, limit_seconds=1.0)
    assert forced.flip is True


def test_images_reach_the_network_channels_first_at_its_resolution(data):
    stored = data.steer_arrays()[0]
    images = to_device(stored, side=8, device=CPU)
    assert torch.equal(images, torch.from_numpy(np.array(stored)).permute(0, 3, 1, 2))
    assert to_device(stored, side=5, device=CPU).shape == (200, 1, 5, 5)
    mean, std = torch.tensor(data.mean).view(1, -1, 1, 1), torch.tensor(data.std).view(1, -1, 1, 1)
    floats = normalise(images, mean, std)
    assert floats.mean().item() == pytest.approx(0, abs=1e-4)
    assert floats.std().item() == pytest.approx(1, abs=1e-3)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"^run\.device: cuda:99 is not there"):
        resolve_device("cuda:99")
    assert resolve_device("cpu") == CPU
    assert count_slots("cpu") >= 1


def test_a_predicted_time_grows_with_epochs_and_images():
    short, long = (
        training_seconds(SPEC, Recipe(epochs=epochs, batch=50), train=train, validation=100, device=CPU, threads=1)
        for epochs, train in ((1, 500), (10, 5000))
    )
    assert 0 < 8 * short < long
