"""What befalls a training on its way: stopped, captured, out of time; and that it is the same for
it, or says so.
"""

import math
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from phinas.experiment.schema.config import DataSection, Recipe
from phinas.space.search_spaces.loading import load_space
from phinas.training.data import dataloader
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.checkpoint import CheckpointManager
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.trainer import TrainingPaused
from phinas.training.timing.time_estimate import estimate_training_seconds

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
# Draws from torch's generator; its stem is dense over several channels, so that it lies otherwise
# in memory than in a file.
DRAWING = replace(SPEC, channels=3, dropout=0.3, drop_path=0.3)
SHORT = Recipe(epochs=3, batch_size=50)
RICH = SHORT.model_copy(
    update={
        "ema_fraction": 0.3,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "mixup": 0.3,
        "initial_resolution_fraction": 0.6,
    }
)
RMSPROP = SHORT.model_copy(update={"optimizer": "rmsprop", "learning_rate": 0.01})


@pytest.fixture(scope="module")
def colored(data, tmp_path_factory):
    """The digits twice over in three channels, once red and once blue."""
    place = tmp_path_factory.mktemp("colored")
    images, labels, _, _ = data.train_val_arrays()
    shades = [images * np.array(shade) for shade in ([1, 0.7, 0.4], [0.4, 0.7, 1])]
    np.savez(
        place / "images.npz",
        images=np.concatenate(shades).astype(np.uint8),
        labels=np.tile(labels, 2),
    )
    return prepare(
        DataSection(source=str(place / "images.npz"), max_train_images=200),
        seed=0,
        directory=place / "data",
    )


def state(trained):
    return trained.model.state_dict()


def checkpoints_in(tmp_path, *, seconds=1e9):
    return CheckpointManager(tmp_path / "it.checkpoint", "key", seconds=seconds)


@pytest.fixture(scope="module")
def uninterrupted(colored, fit):
    """The training of DRAWING with a recipe, run once for each recipe."""
    trainings = {}

    def train_once(recipe):
        key = recipe.model_dump_json()
        if key not in trainings:
            trainings[key] = fit(colored, spec=DRAWING, recipe=recipe)
        return trainings[key]

    return train_once


# Which optimizer it is does not depend on where the training stops, so not every pair is needed.
@pytest.mark.parametrize(
    ("passes", "recipe"),
    [
        pytest.param(1, SHORT, id="1-recipe0"),
        pytest.param(1, RICH, id="1-recipe1"),
        pytest.param(4, RICH, id="4-recipe1"),
        pytest.param(5, RICH, id="5-recipe1"),
        pytest.param(5, RMSPROP, id="5-recipe2"),
        pytest.param(9, SHORT, id="9-recipe0"),
        pytest.param(9, RICH, id="9-recipe1"),
    ],
)
def test_a_training_that_is_stopped_anywhere_goes_on_to_the_bit(
    colored, fit, tmp_path, recipe, passes, before_each_pass, assert_same, uninterrupted
):
    """4 steps an epoch: in the middle of one, at its end, at the start of the next."""
    whole = uninterrupted(recipe)
    checkpoints, seen = checkpoints_in(tmp_path), []

    def stop_after(images):
        seen.append(len(images))
        checkpoints.stop_requested = len(seen) == passes

    with before_each_pass(stop_after), pytest.raises(TrainingPaused):
        fit(colored, spec=DRAWING, recipe=recipe, checkpoints=checkpoints)
    assert len(seen) == passes
    with before_each_pass(lambda images: seen.append(len(images))):
        again = fit(colored, spec=DRAWING, recipe=recipe, checkpoints=checkpoints_in(tmp_path))
    assert len(seen) == 12  # no step was taken twice
    assert_same(again, whole)


def test_a_captured_training_is_the_one_step_by_step(
    colored, fit, capturing, assert_same, uninterrupted
):
    """Images come by the same tensors all along, the steps that warm it are undone, and each
    resolution is captured anew.
    """
    expected, shapes = uninterrupted(RICH), []

    def capture(take_step, *batch):
        shapes.append(batch[0].shape[-1])
        for _ in range(3):
            take_step(*batch)
        return lambda: take_step(*batch)

    capturing(capture)
    assert_same(fit(colored, spec=DRAWING, recipe=RICH), expected)
    assert shapes == [5, 6, 8]


def test_a_training_that_cannot_be_captured_goes_on_step_by_step_and_says_so(
    colored, fit, capturing, assert_same, uninterrupted
):
    expected = uninterrupted(RICH)
    tried = []

    def capture(take_step, *batch):
        tried.append(len(tried))
        take_step(*batch)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    capturing(capture)
    with pytest.warns(
        UserWarning,
        match=r"can't be captured \(operation not permitted when stream is capturing\); they go "
        r"kernel",
    ):
        assert_same(fit(colored, spec=DRAWING, recipe=RICH), expected)
    assert tried == [0]


def test_the_time_that_is_predicted_is_of_captured_steps_where_they_can_be(capturing):
    def predicted():
        return estimate_training_seconds(
            SPEC, SHORT, train_images=100, val_images=50, device=torch.device("cpu"), threads=1
        )

    replayed = []

    def slow(_take_step, *_batch):
        return lambda: replayed.append(time.sleep(0.2))

    def impossible(_take_step, *_batch):
        raise RuntimeError("as if")

    capturing(slow)
    assert predicted() > 3 * 2 * 0.2  # epochs, steps of each
    assert len(replayed) == 4
    capturing(impossible)
    with pytest.warns(UserWarning, match="can't be captured"):
        assert 0 < predicted() < 3 * 2 * 0.2


def test_epochs_before_a_snapshot_are_reported_again_and_may_end_the_training(data, fit, tmp_path):
    checkpoints, heard = checkpoints_in(tmp_path), []

    def report(epoch, accuracy):
        heard.append((epoch, accuracy))
        checkpoints.stop_requested = epoch == 2
        return True

    with pytest.raises(TrainingPaused):
        fit(data, recipe=SHORT, checkpoints=checkpoints, report=report)
    before = heard[:]
    assert [epoch for epoch, _ in before] == [1, 2]
    again = fit(
        data,
        recipe=SHORT,
        checkpoints=checkpoints_in(tmp_path),
        report=lambda *point: heard.append(point) or point[0] < 2,
    )
    assert heard[2:] == before
    assert (len(again.curve), again.stop_reason) == (2, "stopped")


def test_snapshots_change_nothing(data, fit, tmp_path, assert_same):
    taking = checkpoints_in(tmp_path, seconds=0)
    assert_same(fit(data, recipe=RICH, checkpoints=taking), fit(data, recipe=RICH))
    assert taking.read() is not None


def test_a_deadline_ends_a_training_with_what_it_has(data, fit):
    recipe = SHORT.model_copy(update={"epochs": 10_000, "max_minutes": 0.01})
    trained = fit(data, recipe=recipe)
    assert trained.stop_reason == "deadline"
    assert 1 <= len(trained.curve) < 10_000
    assert 0.6 <= trained.train_seconds < 10
    assert math.isfinite(trained.curve[-1].loss)


def test_a_frozen_backbone_learns_nothing_but_its_classifier(colored, fit):
    kept = {}

    def remember(network):
        kept.update({name: tensor.clone() for name, tensor in network.state_dict().items()})

    trained = fit(
        colored, spec=DRAWING, initialization=Initialization(remember, freeze_backbone=True)
    )
    changed = {
        name for name, tensor in state(trained).items() if not torch.equal(tensor, kept[name])
    }
    assert changed == {"classifier.weight", "classifier.bias"}


def test_the_average_of_weights_is_that_of_its_horizon(data, fit):
    """It begins with the first weights, and each step counts 1/horizon."""
    steps = []

    def watch(network):
        network.register_forward_pre_hook(
            lambda it, _: steps.append(it.classifier.bias.detach().clone()) if it.training else None
        )

    recipe = Recipe(epochs=2, batch_size=50, ema_fraction=0.5)
    trained = fit(data, recipe=recipe, initialization=Initialization(watch))
    last = fit(data, recipe=recipe.model_copy(update={"ema_fraction": 0.0}))
    # before and after each of 8 steps: a horizon of 4
    expected, *after = [
        *steps[:8],
        state(last)["classifier.bias"],
    ]
    for bias in after:
        expected = 0.75 * expected + 0.25 * bias
    assert torch.allclose(state(trained)["classifier.bias"], expected, atol=1e-6)


def test_progressive_learning_ends_at_the_whole_resolution(data, fit, before_each_pass):
    sides = []
    with before_each_pass(lambda images: sides.append(images.shape[-1])):
        fit(
            data,
            spec=SPEC.__class__.from_dict(SPEC.to_dict() | {"resolution": 16}),
            recipe=Recipe(epochs=8, batch_size=200, initial_resolution_fraction=0.5),
        )
    assert sides == [8, 8, 11, 11, 13, 13, 16, 16]


def test_balanced_classes_weigh_alike_in_the_loss(data, fit):
    """A rare class is found more often for it."""
    labels = np.array(data.train_val_arrays()[1])
    rare = data.classes.index("8")
    kept = np.flatnonzero((labels != rare) | (np.cumsum(labels == rare) <= 2))

    class Unbalanced:
        def __getattr__(self, name):
            return getattr(data, name)

        train = len(kept)
        counts = tuple(np.bincount(labels[kept]).tolist())

        def train_val_arrays(self):
            images, labels, *held = data.train_val_arrays()
            return images[kept], labels[kept], *held

    recipe = Recipe(epochs=12, batch_size=32, optimizer="adamw", learning_rate=0.01)
    plain, balanced = (
        fit(Unbalanced(), recipe=recipe.model_copy(update={"class_balanced_loss": balance}))
        for balance in (False, True)
    )
    assert balanced.curve[-1].per_class_accuracy[rare] > plain.curve[-1].per_class_accuracy[rare]


def test_bfloat16_is_what_convolutions_are_fed(data, fit):
    kinds = set()

    def watch(network):
        network.classifier.register_forward_hook(
            lambda _module, _inputs, made: kinds.add(made.dtype) if network.training else None
        )

    fit(
        data,
        recipe=Recipe(epochs=1, batch_size=50, precision="bf16"),
        initialization=Initialization(watch),
    )
    fit(data, recipe=Recipe(epochs=1, batch_size=50), initialization=Initialization(watch))
    assert kinds == {torch.bfloat16, torch.float32}


def test_images_that_are_read_as_they_come_give_the_same_to_the_bit(
    data, fit, monkeypatch, assert_same
):
    resident = fit(data, recipe=RICH)
    monkeypatch.setattr(dataloader, "_HOST_MEMORY_FRACTION", 0.0)
    assert not dataloader.fits_in_memory(1, torch.device("cpu"))
    assert_same(fit(data, recipe=RICH), resident)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_a_compiled_network_learns_the_same(data, fit):
    spec = replace(SPEC, stages=SPEC.stages[:1], dropout=0.0, drop_path=0.0)
    recipe = Recipe(epochs=1, batch_size=50)
    plain = fit(data, spec=spec, recipe=recipe)
    compiled = fit(data, spec=spec, recipe=recipe.model_copy(update={"compile": True}))
    assert state(plain).keys() == state(compiled).keys()
    assert not all(
        torch.equal(tensor, state(compiled)[name]) for name, tensor in state(plain).items()
    )
    for name, tensor in state(plain).items():
        assert torch.allclose(tensor, state(compiled)[name], atol=1e-4), name


def test_a_stranger_to_the_snapshot_begins_anew_and_says_so(data, fit, tmp_path, assert_same):
    checkpoints_in(tmp_path, seconds=0).write({"x": torch.zeros(1)}, {})
    with pytest.warns(UserWarning, match="is damaged, or of another training"):
        trained = fit(
            data,
            checkpoints=CheckpointManager(tmp_path / "it.checkpoint", "other key", seconds=1e9),
        )
    assert_same(trained, fit(data))
