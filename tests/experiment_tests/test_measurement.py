"""Measurements, their intervals, and seeds."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.executors.interface import NonRetryableError
from phinas.experiment.measurement import (
    Measurement,
    decode_correct,
    encode_correct,
)
from phinas.experiment.seeds import derive_seed


def test_no_images_say_nothing():
    assert Measurement(0.9).interval() == (0.0, 1.0)


def test_more_images_make_a_narrower_interval():
    widths = [
        high - low
        for low, high in (Measurement(0.9, images=count).interval() for count in (10, 100, 1000))
    ]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("accuracy", [math.nan, math.inf, -0.1, 1.1, 85, "0.5", None, True])
def test_an_accuracy_that_is_no_fraction_is_refused(accuracy):
    with pytest.raises(ValueError, match="accuracy: "):
        Measurement(accuracy)


@pytest.mark.parametrize("field", ["loss", "top5", "train_seconds"])
@pytest.mark.parametrize("value", [math.nan, math.inf, "x"])
def test_a_measurement_with_a_field_that_is_not_finite_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}: .* is not a finite number"):
        Measurement(0.5, **{field: value})


def test_a_measurement_comes_back_equal_through_json():
    one = Measurement(
        1 / 3, split="test", images=7, loss=0.1, seed=2**32 - 1, curve=(0.1, 1 / 3), device="cpu"
    )
    assert Measurement.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False))) == one


def test_what_an_evaluator_adds_of_its_own_is_left_out():
    assert Measurement.from_dict({"accuracy": 0.5, "note": "mine"}) == Measurement(0.5)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_which_images_are_right_comes_back_through_json(right):
    text = encode_correct(np.array(right))
    one = Measurement(sum(right) / len(right), "test", len(right), correct=text)
    again = Measurement.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert list(again.correct_mask) == right == list(decode_correct(text, len(right)))


def test_ten_thousand_images_are_less_than_two_kilobytes():
    assert len(encode_correct(np.ones(10_000, dtype=bool))) == 1668


def test_a_measurement_without_them_is_recorded_as_it_always_was():
    one = Measurement(0.5, "test", 10)
    assert "correct" not in one.to_dict()
    assert one.correct_mask is None


FIVE = encode_correct(np.array([1, 0, 1, 1, 0], dtype=bool))


@pytest.mark.parametrize(
    ("fields", "expected_message"),
    [
        ({"correct": "not base64!"}, "is not base64"),
        ({"correct": "\u00e4"}, "is not base64"),
        ({"correct": 5}, "5 is not base64"),
        ({"correct": None}, "None is not base64"),
        ({"images": 9}, "has 1 bytes, which are not of 9 images"),
        ({"images": 0}, "which are not of 0 images"),
        ({"images": 3, "accuracy": 2 / 3}, "says yes beyond the last of 3 images"),
        ({"accuracy": 0.8}, "3 of 5 images are right, which is not the accuracy 0.8"),
        ({"correct": "===="}, "not base64|has 0 bytes"),
        ({"split": "validation"}, "is of the test split, not of 'validation'"),
    ],
)
def test_wrong_bits_are_refused(fields, expected_message):
    right = {"accuracy": 0.6, "split": "test", "images": 5, "correct": FIVE}
    assert Measurement(**right).correct_mask.sum() == 3
    with pytest.raises(NonRetryableError, match=f"correct: .*({expected_message})"):
        Measurement(**right | fields)


def test_seeds_are_the_same_everywhere():
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
