"""Tests of the trainer: interruption, CUDA graphs, deadline, frozen backbone, EMA, precision."""

import math
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from phinas.experiment.schema.config import RECIPES, DataSection, Recipe
from phinas.space.search_spaces.loading import load_space
from phinas.training.data import dataloader
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.checkpoint import CheckpointManager
from phinas.training.engine.evaluate import evaluate_test_split
from phinas.training.engine.initialization import Initialization
from phinas.training.engine.train_step import CaptureError
from phinas.training.engine.trainer import TrainingInterrupted
from phinas.training.engine.training_setup import TrainingSetup
from phinas.training.request import TrainingRequest, TrainingSettings
from phinas.training.timing.step_timing import time_steps

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
# uses torch's generator; its stem has several input channels, so the memory layout of its weights
# differs from that in a file
RANDOM = replace(SPEC, channels=3, dropout=0.3, drop_path=0.3)
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
FINE_TUNING = SHORT.model_copy(update=RECIPES["finetune"][1] | {"batch_size": 50})


@pytest.fixture(scope="module")
def colored(data, tmp_path_factory):
    """The digits in three channels, each once in red and once in blue."""
    folder = tmp_path_factory.mktemp("colored")
    images, labels, _, _ = data.train_val_arrays()
    shades = [images * np.array(shade) for shade in ([1, 0.7, 0.4], [0.4, 0.7, 1])]
    np.savez(
        folder / "images.npz",
        images=np.concatenate(shades).astype(np.uint8),
        labels=np.tile(labels, 2),
    )
    return prepare(
        DataSection(source=str(folder / "images.npz"), max_train_images=200),
        seed=0,
        directory=folder / "data",
    )


def state(trained):
    return trained.model.state_dict()


def checkpoints_in(tmp_path, *, seconds=1e9):
    return CheckpointManager(tmp_path / "training.checkpoint", "key", seconds=seconds)


@pytest.fixture(scope="module")
def uninterrupted(colored, fit):
    """Function that trains RANDOM with a recipe, once for each recipe."""
    trainings = {}

    def train_once(recipe):
        key = recipe.model_dump_json()
        if key not in trainings:
            trainings[key] = fit(colored, spec=RANDOM, recipe=recipe)
        return trainings[key]

    return train_once


# not all pairs, since the effects of optimizer and interrupted step are independent
@pytest.mark.parametrize(
    ("passes", "recipe"),
    [
        pytest.param(1, SHORT, id="1-recipe0"),
        pytest.param(1, RICH, id="1-recipe1"),
        pytest.param(4, RICH, id="4-recipe1"),
        pytest.param(5, RICH, id="5-recipe1"),
        pytest.param(3, SHORT.model_copy(update={"precision": "fp16"}), id="3-fp16"),
        pytest.param(5, RMSPROP, id="5-recipe2"),
        pytest.param(5, FINE_TUNING, id="5-finetune"),
        pytest.param(9, SHORT, id="9-recipe0"),
        pytest.param(9, RICH, id="9-recipe1"),
    ],
)
def test_a_training_interrupted_anywhere_resumes_bit_exactly(
    colored, fit, tmp_path, recipe, passes, before_each_pass, assert_same, uninterrupted
):
    """With 4 steps per epoch: inside an epoch, at its end and at the start of the next one."""
    checkpoints, batch_sizes = checkpoints_in(tmp_path), []

    def stop_after(images):
        batch_sizes.append(len(images))
        checkpoints.stop_requested = len(batch_sizes) == passes

    with before_each_pass(stop_after), pytest.raises(TrainingInterrupted):
        fit(colored, spec=RANDOM, recipe=recipe, checkpoints=checkpoints)
    assert len(batch_sizes) == passes
    with before_each_pass(lambda images: batch_sizes.append(len(images))):
        resumed = fit(colored, spec=RANDOM, recipe=recipe, checkpoints=checkpoints_in(tmp_path))
    assert len(batch_sizes) == 12  # no step was repeated
    assert_same(resumed, uninterrupted(recipe))


def test_a_captured_training_equals_the_eager_one(
    colored, fit, simulate_capture, assert_same, uninterrupted
):
    """Replayed steps read the same tensors, warm-up steps are undone, and each resolution has its
    own capture.
    """
    expected, shapes = uninterrupted(RICH), []

    def capture(train_step, *batch):
        shapes.append(batch[0].shape[-1])
        for _ in range(3):
            train_step(*batch)
        return lambda: train_step(*batch)

    simulate_capture(capture)
    trained = fit(colored, spec=RANDOM, recipe=RICH)
    assert_same(trained, expected)
    assert trained.cuda_graph == "captured"
    assert shapes == [5, 6, 8]


def test_a_training_that_cannot_be_captured_continues_eagerly_with_a_warning(
    colored, fit, simulate_capture, assert_same, uninterrupted
):
    expected = uninterrupted(RICH)
    captures = []

    def capture(train_step, *batch):
        captures.append(len(batch))
        train_step(*batch)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    simulate_capture(capture)
    with pytest.warns(
        UserWarning,
        match=r"could not be captured as a CUDA graph \(operation not permitted when stream is "
        r"capturing\); training continues with eager steps",
    ):
        trained = fit(colored, spec=RANDOM, recipe=RICH)
    assert_same(trained, expected)
    assert trained.cuda_graph.startswith("failed: operation not permitted")
    assert len(captures) == 1
    with pytest.raises(CaptureError, match=r"^operation not permitted"):
        fit(colored, spec=RANDOM, recipe=RICH, capture="required")
    captures.clear()
    assert_same(fit(colored, spec=RANDOM, recipe=RICH, capture="never"), expected)
    assert not captures


def test_a_timing_times_captured_steps_if_they_can_be_captured(simulate_capture):
    request = TrainingRequest(SPEC, SHORT, 0, TrainingSettings(0.125, True, device="cpu"))

    def time_small_batch():
        return time_steps(request, seconds=0.0, image_size=8)[0].step_seconds

    replayed = []

    def slow(_take_step, *_batch):
        return lambda: replayed.append(time.sleep(0.2))

    def impossible(_take_step, *_batch):
        raise RuntimeError("simulated")

    simulate_capture(slow)
    assert time_small_batch() > 0.2
    assert len(replayed) == 3
    simulate_capture(impossible)
    with pytest.warns(UserWarning, match="could not be captured"):
        assert 0 < time_small_batch() < 0.2


def test_epochs_before_a_checkpoint_are_reported_again_and_may_stop_the_training(
    data, fit, tmp_path
):
    checkpoints, reports = checkpoints_in(tmp_path), []

    def report(epoch, accuracy):
        reports.append((epoch, accuracy))
        checkpoints.stop_requested = epoch == 2
        return True

    with pytest.raises(TrainingInterrupted):
        fit(data, recipe=SHORT, checkpoints=checkpoints, report=report)
    assert [epoch for epoch, _ in reports] == [1, 2]
    resumed = fit(
        data,
        recipe=SHORT,
        checkpoints=checkpoints_in(tmp_path),
        report=lambda *point: reports.append(point) or point[0] < 2,
    )
    assert reports[2:] == reports[:2]
    assert (len(resumed.curve), resumed.stop_reason) == (2, "stopped")


def test_checkpoints_do_not_change_the_training(data, fit, tmp_path, assert_same):
    checkpoints = checkpoints_in(tmp_path, seconds=0)
    assert_same(fit(data, recipe=RICH, checkpoints=checkpoints), fit(data, recipe=RICH))
    assert checkpoints.read() is not None


def test_a_deadline_ends_a_training_with_its_current_weights(data, fit):
    recipe = SHORT.model_copy(update={"epochs": 10_000, "max_minutes": 0.01})
    trained = fit(data, recipe=recipe)
    assert trained.stop_reason == "deadline"
    assert 1 <= len(trained.curve) < 10_000
    assert 0.6 <= trained.train_seconds < 10
    assert math.isfinite(trained.curve[-1].loss)


def test_a_frozen_backbone_trains_the_classifier_only(colored, fit):
    initial = {}

    def record(network):
        initial.update({name: tensor.clone() for name, tensor in network.state_dict().items()})

    trained = fit(colored, spec=RANDOM, initialization=Initialization(record, freeze_backbone=True))
    changed = {
        name for name, tensor in state(trained).items() if not torch.equal(tensor, initial[name])
    }
    assert changed == {"classifier.weight", "classifier.bias"}


def test_frozen_batch_norm_keeps_its_statistics_and_all_weights_are_trained(colored, fit):
    initial = {}

    def record(network):
        initial.update({name: tensor.clone() for name, tensor in network.state_dict().items()})

    trained = fit(colored, spec=RANDOM, recipe=FINE_TUNING, initialization=Initialization(record))
    unchanged = {
        name for name, tensor in state(trained).items() if torch.equal(tensor, initial[name])
    }
    assert unchanged == {name for name, _ in trained.model.named_buffers()}


def test_the_ema_has_the_horizon_of_the_recipe(data, fit):
    """The horizon is a fraction of the steps so far, and each step has a weight of 1/horizon."""
    biases = []

    def record(network, _inputs):
        if network.training:
            biases.append(network.classifier.bias.detach().clone())

    def add_hook(network):
        network.register_forward_pre_hook(record)

    recipe = Recipe(epochs=2, batch_size=50, ema_fraction=0.5)
    trained = fit(data, recipe=recipe, initialization=Initialization(add_hook))
    without_ema = fit(data, recipe=recipe.model_copy(update={"ema_fraction": 0.0}))
    # before and after each of 8 steps
    expected, *later = [*biases[:8], state(without_ema)["classifier.bias"]]
    for step, bias in enumerate(later, start=1):
        expected += (bias - expected) / max(1, 0.5 * step)
    assert torch.allclose(state(trained)["classifier.bias"], expected, atol=1e-6)


def test_progressive_learning_ends_at_the_full_resolution(data, fit, before_each_pass):
    resolutions = []
    with before_each_pass(lambda images: resolutions.append(images.shape[-1])):
        fit(
            data,
            spec=SPEC.__class__.from_dict(SPEC.to_dict() | {"resolution": 16}),
            recipe=Recipe(epochs=8, batch_size=200, initial_resolution_fraction=0.5),
        )
    assert resolutions == [8, 8, 11, 11, 13, 13, 16, 16]


def test_a_class_balanced_loss_raises_the_recall_of_a_rare_class(data, fit):
    labels = np.array(data.train_val_arrays()[1])
    rare = data.classes.index("8")
    # all images of other classes, and two of the rare class
    indices = np.flatnonzero((labels != rare) | (np.cumsum(labels == rare) <= 2))

    class ImbalancedData:
        def __getattr__(self, name):
            return getattr(data, name)

        train = len(indices)
        counts = tuple(np.bincount(labels[indices]).tolist())

        def train_val_arrays(self):
            images, labels, *validation = data.train_val_arrays()
            return images[indices], labels[indices], *validation

    recipe = Recipe(epochs=12, batch_size=32, optimizer="adamw", learning_rate=0.01)
    unweighted, weighted = (
        fit(ImbalancedData(), recipe=recipe.model_copy(update={"class_balanced_loss": balanced}))
        for balanced in (False, True)
    )
    recalls = [trained.curve[-1].per_class_accuracy[rare] for trained in (unweighted, weighted)]
    assert recalls[1] > recalls[0]


def test_bf16_precision_trains_and_validates_in_bfloat16(data, fit):
    """The test split is evaluated in float32, as the network is used later."""
    dtypes = {}

    def add_hook(network):
        network.classifier.register_forward_hook(
            lambda _module, _inputs, logits: dtypes.setdefault(
                "train" if network.training else "eval", set()
            ).add(logits.dtype)
        )

    recipe = Recipe(epochs=1, batch_size=50, ema_fraction=0)
    for precision, dtype in (("bf16", torch.bfloat16), ("auto", torch.float32)):
        dtypes.clear()
        trained = fit(
            data,
            recipe=recipe.model_copy(update={"precision": precision}),
            initialization=Initialization(add_hook),
        )
        assert dtypes == {"train": {dtype}, "eval": {dtype}}
        dtypes.clear()
        evaluate_test_split(trained.model, data, resolution=8, mean=trained.mean, std=trained.std)
        assert dtypes == {"eval": {torch.float32}}


def test_the_scale_of_the_loss_is_part_of_the_state(data):
    request = TrainingRequest(
        SPEC,
        SHORT.model_copy(update={"precision": "fp16"}),
        1,
        TrainingSettings(0.0, False, device="cpu"),
    )
    setups = [TrainingSetup(request, data, micro_batch_size=50) for _ in range(2)]
    setups[0].train_step.scaler.load_state_dict(
        setups[0].train_step.scaler.state_dict() | {"scale": 512.0, "_growth_tracker": 7}
    )
    setups[1].restore(setups[0].state_tensors())
    states = [setup.train_step.scaler.state_dict() for setup in setups]
    assert states[0] == states[1]
    assert (states[1]["scale"], states[1]["_growth_tracker"]) == (512.0, 7)


def test_streamed_images_give_a_bit_identical_training(data, fit, monkeypatch, assert_same):
    resident = fit(data, recipe=RICH)
    monkeypatch.setattr(dataloader, "_HOST_MEMORY_FRACTION", 0.0)
    assert not dataloader.fits_in_memory(1, torch.device("cpu"))
    assert_same(fit(data, recipe=RICH), resident)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_a_compiled_network_has_the_same_weights_up_to_rounding(data, fit):
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


def test_a_checkpoint_of_another_training_is_not_used_and_warns(data, fit, tmp_path, assert_same):
    checkpoints_in(tmp_path, seconds=0).write({"x": torch.zeros(1)}, {})
    with pytest.warns(UserWarning, match="is damaged or belongs to another training"):
        trained = fit(
            data,
            checkpoints=CheckpointManager(
                tmp_path / "training.checkpoint", "other key", seconds=1e9
            ),
        )
    assert_same(trained, fit(data))
