"""Tests of training jobs: key, measurement, weights."""

from contextlib import closing, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from phinas.experiment.executors import Job
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.search_spaces.loading import load_space
from phinas.training.augmentation.transforms import normalize
from phinas.training.data.dataloader import ImageBatches
from phinas.training.engine import device
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
    {"check_rates": True},
    {"backbone_learning_rate_factor": 0.1},
    {"schedule": "cosine"},
    {"warmup_fraction": 0.3},
    {"weight_decay": 0.1},
    {"freeze_batch_norm": True},
    {"regularization": 0.5},
    {"max_gradient_norm": 0.5},
    {"label_smoothing": 0.2},
    {"class_balanced_loss": True},
    {"ema_fraction": 0.3},
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


def with_settings(data, **changes):
    factory = job_factory_of(data)
    return replace(factory, settings=replace(factory.settings, **changes))


def run_job(job):
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job)
        return executor.next_result()


def test_the_precision_that_auto_means_is_part_of_the_key(data):
    """A training in bf16 on a GPU is not taken for one in fp32 on a CPU."""
    factory = job_factory_of(data)
    on_gpu = job_factory_of(data, auto_precision="bf16")
    explicit = [
        factory.make_job(SPEC, SHORT.model_copy(update={"precision": name}), 1).key
        for name in ("fp32", "bf16")
    ]
    assert [item.make_job(SPEC, SHORT, 1).key for item in (factory, on_gpu)] == explicit
    assert len(set(explicit)) == 2
    recipe = on_gpu.make_job(SPEC, SHORT, 1).payload["request"]["recipe"]
    assert recipe["precision"] == "bf16"


def test_a_worker_says_what_auto_precision_means_on_its_device(monkeypatch):
    job = Job("key", "phinas.training.engine.device:find_auto_precision", {"device": "cpu"})
    assert run_job(job).value == {"precision": "fp32"}
    monkeypatch.setattr(device, "resolve_device", lambda _name: torch.device("cuda", 1))
    monkeypatch.setattr(torch.cuda, "device", lambda _device: nullcontext())
    for supported, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda *, including_emulation, s=supported: s
        )
        assert run_job(job).value == {"precision": precision}


def test_a_diverged_training_fails_with_that_reason(data):
    recipe = SHORT.model_copy(update={"learning_rate": 1e30})
    result = run_job(job_factory_of(data).make_job(SPEC, recipe, 1))
    assert result.value is None
    assert result.reason.startswith("the loss was nan in epoch 1 of 2")


def test_a_stopped_job_returns_the_measurement_of_its_epochs(data):
    recipe = SHORT.model_copy(update={"epochs": 4})
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job_factory_of(data).make_job(SPEC, recipe, 3), lambda epoch, _: epoch < 3)
        value = executor.next_result().value
    full = run_job(job_factory_of(data).make_job(SPEC, recipe, 3)).value
    assert value["epochs"] == len(value["curve"]) == 3
    assert value["curve"] == full["curve"][:3]
    assert value["score"] == value["curve"][-1]


def test_the_measurement_of_a_job_equals_the_evaluation_of_its_training(data, fit):
    trained = fit(data)
    value = run_job(job_factory_of(data).make_job(SPEC, SHORT, 3)).value
    last = trained.curve[-1]
    assert (value["score"], value["top5"], value["images"]) == (last.accuracy, last.top5, 101)
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


def test_a_job_on_the_test_split_writes_weights_that_score_the_same(data, tmp_path, moments):
    path = tmp_path / "weights.safetensors"
    value = run_job(
        job_factory_of(data).make_job(SPEC, SHORT, 3, on_test_split=True, weights=path)
    ).value
    assert (value["split"], value["images"]) == ("test", data.test)
    model = SPEC.build()
    load_weights(model, path)
    mean, std = moments(data)
    score = evaluate_test_split(model, data, resolution=8, mean=mean, std=std)
    assert (score.accuracy, score.correct) == (value["score"], value["correct"])
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
    correct = logits.argmax(1).numpy() == labels
    assert 0 < correct.sum() < len(correct)
    assert np.array_equal(Measurement.from_dict(value).correct_mask, correct)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_the_metric_changes_score_curve_reports_and_interval_but_not_the_weights(
    metric, data, fit, tmp_path
):
    path, reports = tmp_path / "weights.safetensors", []
    job = with_settings(data, metric=metric).make_job(
        SPEC, SHORT, 3, on_test_split=True, weights=path
    )
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job, lambda epoch, score: reports.append((epoch, score)) or True)
        value = executor.next_result().value
    trained = fit(data)
    expected = [point.score(metric) for point in trained.curve]
    assert value["curve"] == [score for _, score in reports] == expected
    assert expected != [point.accuracy for point in trained.curve]
    model = SPEC.build()
    load_weights(model, path)
    assert torch.equal(model.classifier.weight, trained.model.classifier.weight)
    score = evaluate_test_split(
        model, data, resolution=8, mean=trained.mean, std=trained.std, metric=metric
    )
    measurement = Measurement.from_dict(value)
    assert (measurement.metric, measurement.score) == (metric, score.score(metric))
    assert measurement.correct == ""
    low, high = measurement.interval()
    assert 0 < low < measurement.score < high < 1
    assert high - low == pytest.approx(4 * measurement.sampling_error, rel=0.1)


def test_only_the_evaluation_of_the_last_epoch_has_bootstrap_replicates(data, fit):
    curve = fit(data, metric="macro_f1").curve
    assert [bool(point.resampled_scores) for point in curve] == [False, True]
    recipe = SHORT.model_copy(update={"max_minutes": 1e-9})
    (point,) = fit(data, metric="macro_f1", recipe=recipe).curve
    assert point.resampled_scores


def test_correct_images_are_recorded_on_the_test_split_only(data, fit):
    assert all(point.correct == "" for point in fit(data).curve)
    assert "correct" not in run_job(job_factory_of(data).make_job(SPEC, SHORT, 3)).value


def test_every_recipe_option_is_tested_in_the_key():
    assert [name for change in OTHER_OPTIONS for name in change] == list(Recipe.model_fields)


def test_a_key_depends_on_all_that_decides_the_result_and_nothing_else(data, tmp_path):
    key = job_factory_of(data).make_job(SPEC, SHORT, 1).key
    moved_data = data.model_copy(update={"directory": tmp_path})
    same_result = [
        job_factory_of(moved_data).make_job(SPEC, SHORT, 1),
        with_settings(data, device="auto").make_job(SPEC, SHORT, 1),
        with_settings(data, threads=7).make_job(SPEC, SHORT, 1),
        job_factory_of(data, limit_seconds=5.0).make_job(SPEC, SHORT, 1),
        with_settings(data, deterministic=True).make_job(SPEC, SHORT, 1),
        job_factory_of(data, checkpoints=tmp_path).make_job(SPEC, SHORT, 1),
        job_factory_of(data).make_job(SPEC, SHORT, 1, weights=tmp_path / "w.safetensors"),
    ]
    assert {job.key for job in same_result} == {key}
    other_result = [
        job_factory_of(data).make_job(SPEC, SHORT, 2),
        job_factory_of(data).make_job(SPEC, SHORT, 1, on_test_split=True),
        job_factory_of(data).make_job(replace(SPEC, dropout=0.3), SHORT, 1),
        job_factory_of(data.model_copy(update={"fingerprint": "other"})).make_job(SPEC, SHORT, 1),
        with_settings(data, max_shift=0.3).make_job(SPEC, SHORT, 1),
        with_settings(data, horizontal_flip=True).make_job(SPEC, SHORT, 1),
        with_settings(data, metric="macro_f1").make_job(SPEC, SHORT, 1),
        job_factory_of(data).make_job(SPEC, SHORT, 1, stop_epoch=1),
        *[
            job_factory_of(data).make_job(SPEC, SHORT.model_copy(update=change), 1)
            for change in OTHER_OPTIONS
        ],
    ]
    assert len({key, *(job.key for job in other_result)}) == 1 + len(other_result)


def test_horizontal_flip_follows_the_data_unless_it_is_configured(data):
    assert job_factory_of(data).settings.horizontal_flip is data.allow_flip is False
    configured = TrainingJobFactory.from_config(
        data,
        DataSection(source="digits", horizontal_flip=True),
        run=RunSection(),
        threads=1,
        checkpoints=None,
    )
    assert configured.settings.horizontal_flip is True
