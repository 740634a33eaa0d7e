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
from phinas.training.augmentation.transforms import normalize
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine.evaluate import evaluate_test_split
from phinas.training.engine.job import TrainingJobFactory
from phinas.training.engine.weights_io import load_weights

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SHORT = Recipe(epochs=2, batch_size=50)
OTHER_OPTIONS = [
    {"epochs": 3},
    {"batch_size": 25},
    {"micro_batch_size": 5},
    {"optimizer": "adamw"},
    {"learning_rate": 0.1},
    {"warmup_fraction": 0.1},
    {"weight_decay": 0.1},
    {"label_smoothing": 0.2},
    {"class_balanced_loss": True},
    {"ema_fraction": 0.1},
    {"min_crop_area": 0.5},
    {"cutout_size": 0.5},
    {"randaugment_magnitude": 0.5},
    {"mixup": 0.5},
    {"cutmix": 0.5},
    {"initial_resolution_fraction": 0.5},
    {"precision": "bf16"},
    {"compile": True},
    {"max_minutes": 1.0},
]
pytestmark = pytest.mark.usefixtures("one_thread")


def job_factory_of(data, **options):
    return replace(
        TrainingJobFactory.from_config(
            data,
            DataSection(source="digits"),
            run=RunSection(device="cpu"),
            threads=1,
            checkpoints=None,
        ),
        **options,
    )


def carry_out(job):
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job)
        return executor.next_result()


def test_a_diverged_training_is_a_failure_with_that_reason(data):
    result = carry_out(
        job_factory_of(data).make_job(SPEC, SHORT.model_copy(update={"learning_rate": 1e30}), 1)
    )
    assert result.value is None
    assert result.reason.startswith("the loss was nan in epoch 1 of 2")


def test_a_job_that_is_stopped_measures_what_it_has_come_to(data):
    recipe = SHORT.model_copy(update={"epochs": 4})
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job_factory_of(data).make_job(SPEC, recipe, 3), lambda epoch, _: epoch < 3)
        value = executor.next_result().value
    whole = carry_out(job_factory_of(data).make_job(SPEC, recipe, 3)).value
    assert value["epochs"] == len(value["curve"]) == 3
    assert value["curve"] == whole["curve"][:3]
    assert value["accuracy"] == value["curve"][-1]


def test_a_job_measures_as_the_training_does(data, fit):
    trained = fit(data)
    value = carry_out(job_factory_of(data).make_job(SPEC, SHORT, 3)).value
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
    value = carry_out(
        job_factory_of(data).make_job(SPEC, SHORT, 3, on_test_split=True, weights=path)
    ).value
    assert (value["split"], value["images"]) == ("test", data.test)
    model = build(SPEC)
    load_weights(model, path)
    mean, std = moments(data)
    score = evaluate_test_split(model, data, resolution=8, mean=mean, std=std)
    assert (score.accuracy, score.correct) == (value["accuracy"], value["correct"])
    images, labels = data.test_arrays()
    with torch.inference_mode():
        logits = model(
            normalize(
                ImageBatches(images, labels, resolution=8, device=torch.device("cpu")).take(
                    torch.arange(len(labels))
                ),
                mean,
                std,
            )
        )
    right = logits.argmax(1).numpy() == labels
    assert 0 < right.sum() < len(right)
    assert np.array_equal(Measurement.from_dict(value).correct_mask, right)


def test_only_the_test_split_is_recorded_image_by_image(data, fit):
    assert all(point.correct == "" for point in fit(data).curve)
    assert "correct" not in carry_out(job_factory_of(data).make_job(SPEC, SHORT, 3)).value


def test_every_option_is_among_those_that_decide():
    assert [name for change in OTHER_OPTIONS for name in change] == list(Recipe.model_fields)


def test_a_key_follows_from_what_decides_the_result_and_nothing_else(data, tmp_path):
    key = job_factory_of(data).make_job(SPEC, SHORT, 1).key
    moved = replace(data, directory=tmp_path)
    alike = [
        job_factory_of(moved).make_job(SPEC, SHORT, 1),
        job_factory_of(data, device="auto").make_job(SPEC, SHORT, 1),
        job_factory_of(data, threads=7).make_job(SPEC, SHORT, 1),
        job_factory_of(data, limit_seconds=5.0).make_job(SPEC, SHORT, 1),
        job_factory_of(data, deterministic=True).make_job(SPEC, SHORT, 1),
        job_factory_of(data, checkpoints=tmp_path).make_job(SPEC, SHORT, 1),
        job_factory_of(data).make_job(SPEC, SHORT, 1, weights=tmp_path / "w.safetensors"),
    ]
    assert {job.key for job in alike} == {key}
    different = [
        job_factory_of(data).make_job(SPEC, SHORT, 2),
        job_factory_of(data).make_job(SPEC, SHORT, 1, on_test_split=True),
        job_factory_of(data).make_job(replace(SPEC, dropout=0.3), SHORT, 1),
        job_factory_of(replace(data, fingerprint="other")).make_job(SPEC, SHORT, 1),
        replace(job_factory_of(data), max_shift=0.3).make_job(SPEC, SHORT, 1),
        replace(job_factory_of(data), horizontal_flip=True).make_job(SPEC, SHORT, 1),
        *[
            job_factory_of(data).make_job(SPEC, SHORT.model_copy(update=change), 1)
            for change in OTHER_OPTIONS
        ],
    ]
    assert len({key, *(job.key for job in different)}) == 1 + len(different)


def test_flipping_is_left_to_the_data_unless_it_is_configured(data):
    assert job_factory_of(data).horizontal_flip is data.allow_flip is False
    forced = TrainingJobFactory.from_config(
        data,
        DataSection(source="digits", horizontal_flip=True),
        run=RunSection(),
        threads=1,
        checkpoints=None,
    )
    assert forced.horizontal_flip is True
