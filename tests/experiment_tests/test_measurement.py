"""Tests of measurements, their intervals, and derived seeds."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.executors.interface import NonRetryableError
from phinas.experiment.measurement import Measurement, combine_seeds, metric_label
from phinas.experiment.measurement_arrays import (
    decode_correct,
    decode_resamples,
    encode_correct,
    encode_resamples,
)
from phinas.experiment.seeds import derive_seed


def test_an_accuracy_without_images_has_the_widest_interval():
    assert Measurement(0.9).interval() == (0.0, 1.0)


def test_more_images_give_a_narrower_interval():
    widths = [
        high - low
        for low, high in (Measurement(0.9, images=count).interval() for count in (10, 100, 1000))
    ]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.1, 85, "0.5", None, True])
def test_a_score_outside_0_and_1_is_refused(score):
    with pytest.raises(ValueError, match="score: "):
        Measurement(score)


@pytest.mark.parametrize("field", ["loss", "top5", "train_seconds"])
@pytest.mark.parametrize("value", [math.nan, math.inf, "x"])
def test_a_measurement_with_a_field_that_is_not_finite_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}: .* is not a finite number"):
        Measurement(0.5, **{field: value})


def test_a_measurement_round_trips_through_json():
    measurement = Measurement(
        1 / 3, split="test", images=7, loss=0.1, seed=2**32 - 1, curve=(0.1, 1 / 3), device="cpu"
    )
    text = json.dumps(measurement.to_dict(), allow_nan=False)
    assert Measurement.from_dict(json.loads(text)) == measurement


def test_unknown_keys_of_a_measurement_are_ignored():
    assert Measurement.from_dict({"score": 0.5, "note": "mine"}) == Measurement(0.5)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_correct_images_round_trip_through_json(correct):
    text = encode_correct(np.array(correct))
    measurement = Measurement(sum(correct) / len(correct), "test", len(correct), correct=text)
    restored = Measurement.from_dict(json.loads(json.dumps(measurement.to_dict())))
    assert restored == measurement
    assert list(restored.correct_mask) == correct == list(decode_correct(text, len(correct)))


def test_ten_thousand_correct_images_take_less_than_two_kilobytes():
    assert len(encode_correct(np.ones(10_000, dtype=bool))) == 1668


def test_a_measurement_without_correct_images_omits_them():
    measurement = Measurement(0.5, "test", 10)
    assert "correct" not in measurement.to_dict()
    assert measurement.correct_mask is None


FIVE = encode_correct(np.array([1, 0, 1, 1, 0], dtype=bool))


@pytest.mark.parametrize(
    ("fields", "expected_message"),
    [
        ({"correct": "not base64!"}, "is not base64"),
        ({"correct": "\u00e4"}, "is not base64"),
        ({"correct": 5}, "5 is not base64"),
        ({"correct": None}, "None is not base64"),
        ({"images": 9}, "1 bytes do not match 9 images"),
        ({"images": 0}, "1 bytes do not match 0 images"),
        ({"images": 3, "score": 2 / 3}, "bits after the last of 3 images are set"),
        ({"score": 0.8}, "3 of 5 images are correct, which contradicts the accuracy 0.8"),
        ({"correct": "===="}, "not base64|0 bytes"),
        (
            {"metric": "macro_f1"},
            "recorded for macro_f1 on the split 'test'; it is only defined for accuracy",
        ),
        (
            {"split": "validation"},
            "recorded for accuracy on the split 'validation'; it is only defined for accuracy",
        ),
    ],
)
def test_invalid_correct_images_are_refused(fields, expected_message):
    valid = {"score": 0.6, "split": "test", "images": 5, "correct": FIVE}
    assert Measurement(**valid).correct_mask.sum() == 3
    with pytest.raises(NonRetryableError, match=f"correct: .*({expected_message})"):
        Measurement(**valid | fields)


RESAMPLES = encode_resamples(np.random.default_rng(0).normal(0.8, 0.02, 200).astype(np.float32))


def test_a_measurement_of_another_metric_round_trips_through_json():
    with_replicates = Measurement(0.8, metric="macro_f1", resampled_scores=RESAMPLES)
    with_error = Measurement(0.8, metric="mean_iou", standard_error=0.0)
    for measurement in (with_replicates, with_error):
        text = json.dumps(measurement.to_dict())
        assert Measurement.from_dict(json.loads(text)) == measurement
    assert len(RESAMPLES) == 1068


def test_the_interval_from_replicates_has_a_half_width_of_about_1_96_standard_errors():
    measurement = Measurement(0.8, metric="macro_f1", images=400, resampled_scores=RESAMPLES)
    error = float(measurement.resamples.std(ddof=1))
    assert measurement.sampling_error == pytest.approx(error)
    assert measurement.interval() == pytest.approx(
        (0.8 - 1.96 * error, 0.8 + 1.96 * error), abs=0.005
    )


def test_a_stated_standard_error_gives_a_normal_interval_within_0_and_1():
    measurement = Measurement(0.7, metric="mean_iou", standard_error=0.05)
    assert measurement.interval() == pytest.approx((0.602, 0.798))
    assert measurement.sampling_error == 0.05
    assert Measurement(0.99, standard_error=0.05).interval() == pytest.approx((0.892, 1.0))


def test_a_score_with_unknown_uncertainty_has_the_widest_interval():
    for measurement in (Measurement(0.7, metric="mean_iou", images=100), Measurement(0.7)):
        assert measurement.sampling_error is None
        assert measurement.interval() == (0.0, 1.0)


def test_the_standard_error_of_an_accuracy_follows_from_the_number_of_images():
    assert Measurement(0.8, images=1000).sampling_error == pytest.approx(0.0126, abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "expected_message"),
    [
        ({"metric": ""}, "metric: '' is not the name of a metric"),
        ({"metric": None}, "metric: None is not the name of a metric"),
        ({"split": 3}, "split: 3 is not the name of a split"),
        ({"standard_error": -0.1}, "standard_error: -0.1 is negative"),
        ({"standard_error": math.nan}, "standard_error: nan is not a finite number"),
        ({"resampled_scores": "not base64!"}, "resampled_scores: 'not base64!' is not base64"),
        ({"resampled_scores": "AAAA"}, "resampled_scores: 3 bytes are not two or more"),
        (
            {"resampled_scores": encode_resamples(np.array([0.5, math.nan], np.float32))},
            "resampled_scores: some numbers are not from 0 to 1",
        ),
    ],
)
def test_an_invalid_metric_or_uncertainty_is_refused(fields, expected_message):
    with pytest.raises(NonRetryableError, match=expected_message):
        Measurement(0.5, **fields)


def test_replicates_round_trip_through_text():
    scores = np.array([0.0, 0.25, 1.0], np.float32)
    assert np.array_equal(decode_resamples(encode_resamples(scores)), scores)


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced accuracy"),
        ("macro_f1", "macro F1"),
        ("mean_iou", "mean iou"),
    ],
)
def test_a_metric_has_a_label_for_sentences(metric, label):
    assert metric_label(metric) == label


def test_combined_seeds_keep_correct_images_replicates_and_stated_errors():
    accuracies = combine_seeds(
        9, [Measurement(0.6, "test", 5, seed=seed, correct=FIVE) for seed in (0, 1)]
    )
    assert (accuracies.flops, accuracies.score_by_seed) == (9, {0: 0.6, 1: 0.6})
    assert accuracies.fraction_correct([0, 1]).tolist() == [1, 0, 1, 1, 0]
    scores = combine_seeds(
        9, [Measurement(0.8, "test", 5, metric="macro_f1", resampled_scores=RESAMPLES)]
    )
    assert scores.sampling_error == pytest.approx(0.02, rel=0.2)
    with_error = combine_seeds(9, [Measurement(0.8, metric="mean_iou", standard_error=0.03)])
    assert with_error.sampling_error == 0.03
    unknown = combine_seeds(9, [Measurement(0.8, metric="mean_iou", images=10_000)])
    assert unknown.sampling_error > 0.2


def test_a_derived_seed_never_changes():
    assert derive_seed(0, "init", 3) == 3852074452


def test_seeds_differ_by_run_purpose_and_index():
    seeds = {
        derive_seed(run, purpose, *index)
        for run in (0, 1)
        for purpose in ("init", "data")
        for index in ((), (0,), (1,), (0, 1))
    }
    assert len(seeds) == 16


@given(st.integers(0, 2**32 - 1), st.text(max_size=5), st.integers(0, 10**6))
def test_a_seed_fits_every_generator(run, purpose, index):
    assert 0 <= derive_seed(run, purpose, index) < 2**32
