"""A training as a job: what decides its key, what it measures, what it leaves."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.blocks import build
from phinas.space.search_spaces.loading import load_space
from phinas.training.augmentation.transforms import normalise
from phinas.training.data.dataloader import Batches
from phinas.training.engine.evaluate import evaluate_final
from phinas.training.engine.job import Trainer
from phinas.training.engine.weights_io import load_weights

SPEC = load_space("tiny").fitted(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=2, batch=50)
OTHER_OPTIONS = [
    {"epochs": 3},
    {"batch": 25},
    {"micro_batch": 5},
    {"optimizer": "adamw"},
    {"learning_rate": 0.1},
    {"warmup": 0.1},
    {"weight_decay": 0.1},
    {"label_smoothing": 0.2},
    {"balance": True},
    {"ema": 0.1},
    {"crop": 0.5},
    {"cutout": 0.5},
    {"colour": 0.5},
    {"mixup": 0.5},
    {"cutmix": 0.5},
    {"progressive": 0.5},
    {"precision": "bf16"},
    {"compile": True},
    {"minutes": 1.0},
]
pytestmark = pytest.mark.usefixtures("one_thread")


def trainer_of(data, **options):
    return replace(
        Trainer.of(
            data,
            DataSection(source="digits"),
            run=RunSection(device="cpu"),
            threads=1,
            snapshots=None,
        ),
        **options,
    )


def carry_out(job):
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job)
        return executor.next_result()


def test_a_diverged_training_is_a_failure_with_that_reason(data):
    result = carry_out(
        trainer_of(data).job(SPEC, SHORT.model_copy(update={"learning_rate": 1e30}), 1)
    )
    assert result.value is None
    assert result.reason.startswith("the loss was nan in epoch 1 of 2")


def test_a_job_that_is_stopped_measures_what_it_has_come_to(data):
    recipe = SHORT.model_copy(update={"epochs": 4})
    with closing(InlineExecutor(1)) as executor:
        executor.submit(trainer_of(data).job(SPEC, recipe, 3), lambda epoch, _: epoch < 3)
        value = executor.next_result().value
    whole = carry_out(trainer_of(data).job(SPEC, recipe, 3)).value
    assert value["epochs"] == len(value["curve"]) == 3
    assert value["curve"] == whole["curve"][:3]
    assert value["accuracy"] == value["curve"][-1]


def test_a_job_measures_as_the_training_does(data, fit):
    trained = fit(data)
    value = carry_out(trainer_of(data).job(SPEC, SHORT, 3)).value
    last = trained.curve[-1]
    assert (value["accuracy"], value["top5"], value["images"]) == (last.accuracy, last.top5, 101)
    assert value["loss"] == pytest.approx(last.loss)
    assert value["curve"] == [score.accuracy for score in trained.curve]
    assert (value["split"], value["seed"], value["epochs"], value["device"]) == (
        "validation",
        3,
        2,
        "cpu",
    )
    assert value["train_seconds"] > 0
    assert value["images_per_second"] == pytest.approx(400 / value["train_seconds"])


def test_a_final_job_measures_on_the_test_split_and_leaves_weights_that_score_the_same(
    data, tmp_path, moments
):
    path = tmp_path / "weights.safetensors"
    value = carry_out(trainer_of(data).job(SPEC, SHORT, 3, final=True, weights=path)).value
    assert (value["split"], value["images"]) == ("test", data.test)
    model = build(SPEC)
    load_weights(model, path)
    mean, std = moments(data)
    score = evaluate_final(model, data, side=8, mean=mean, std=std)
    assert (score.accuracy, score.correct) == (value["accuracy"], value["correct"])
    images, labels = data.test_arrays()
    with torch.inference_mode():
        logits = model(
            normalise(
                Batches(images, labels, side=8, device=torch.device("cpu")).take(
                    torch.arange(len(labels))
                ),
                mean,
                std,
            )
        )
    right = logits.argmax(1).numpy() == labels
    assert 0 < right.sum() < len(right)
    assert np.array_equal(Measurement.from_dict(value).right, right)


def test_only_the_test_split_is_recorded_image_by_image(data, fit):
    assert all(point.correct == "" for point in fit(data).curve)
    assert "correct" not in carry_out(trainer_of(data).job(SPEC, SHORT, 3)).value


def test_every_option_is_among_those_that_decide():
    assert [name for change in OTHER_OPTIONS for name in change] == list(Recipe.model_fields)


def test_a_key_follows_from_what_decides_the_result_and_nothing_else(data, tmp_path):
    key = trainer_of(data).job(SPEC, SHORT, 1).key
    moved = replace(data, directory=tmp_path)
    alike = [
        trainer_of(moved).job(SPEC, SHORT, 1),
        trainer_of(data, device="auto").job(SPEC, SHORT, 1),
        trainer_of(data, threads=7).job(SPEC, SHORT, 1),
        trainer_of(data, limit_seconds=5.0).job(SPEC, SHORT, 1),
        trainer_of(data, deterministic=True).job(SPEC, SHORT, 1),
        trainer_of(data, snapshots=tmp_path).job(SPEC, SHORT, 1),
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
        *[
            trainer_of(data).job(SPEC, SHORT.model_copy(update=change), 1)
            for change in OTHER_OPTIONS
        ],
    ]
    assert len({key, *(job.key for job in different)}) == 1 + len(different)


def test_flipping_is_left_to_the_data_unless_it_is_configured(data):
    assert trainer_of(data).flip is data.mirror is False
    forced = Trainer.of(
        data, DataSection(source="digits", flip=True), run=RunSection(), threads=1, snapshots=None
    )
    assert forced.flip is True
