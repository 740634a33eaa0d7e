"""Tests of the remark about a network that has learned little, on the card and in the terminal."""

import json

import numpy as np
import pytest

import phinas as front
from phinas.api.predict import PredictResult, score_lines
from phinas.deployment.label_scores import score_labels
from phinas.experiment.fit_dir import FitDir
from phinas.fit_pipeline.results import read_results, summary_line

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def noise_fit(tmp_path_factory, fit_images):
    """A fit of images whose labels are random."""
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 90), ("test", 150)):
        pixels = random.integers(0, 255, (count, 24, 24, 1), dtype=np.uint8)
        arrays |= {f"x_{split}": pixels, f"y_{split}": np.arange(count) % 3}
    np.savez(path, **arrays)
    return fit_images(path, channels=1)


def result_of(labels, predictions):
    scores = score_labels(labels, predictions, CLASSES)
    return PredictResult("runs/b1", "abc", (), (), scores)


def test_card_and_terminal_of_a_fit_have_the_same_remark(noise_fit) -> None:
    result = read_results(FitDir(noise_fit))
    assert result.learning_problem is not None
    (remark,) = (line for line in result.remarks if "the network has learned little" in line)
    assert remark in summary_line(result)
    assert remark in (noise_fit / "README.md").read_text()
    data = json.loads(json.dumps(result.to_dict()))
    assert remark in data["remarks"]
    assert data["learning_problem"]["images"] == 150


def test_card_of_a_good_fit_has_no_remark(color_fit) -> None:
    assert read_results(FitDir(color_fit)).learning_problem is None
    assert "has learned little" not in (color_fit / "README.md").read_text()


def test_predictions_of_one_class_are_remarked() -> None:
    labels = [0] * 12 + [1] * 44 + [2] * 44
    result = result_of(labels, [0] * 97 + [2] * 3)
    (remark,) = result.remarks
    assert remark.startswith(
        "97% of the 100 labeled images were classified as 'cat', but 12% are 'cat': the network "
        "has learned little"
    )
    assert remark in score_lines(result)
    assert result.to_dict()["remarks"] == [remark]


def test_accuracy_of_the_largest_class_is_remarked() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    (remark,) = result_of(labels.tolist(), random.integers(0, 3, 300).tolist()).remarks
    assert "is not significantly above the" in remark
    assert "the largest class: the network has learned little" in remark


def test_good_predictions_are_not_remarked() -> None:
    labels = [0] * 90 + [1] * 5 + [2] * 5
    assert result_of(labels, [0] * 91 + [1] * 4 + [2] * 5).remarks == []


def test_weights_of_a_fit_have_its_seed_and_accuracy(color_fit, color_images) -> None:
    image = color_images / "test" / "fade" / "001.png"
    result = front.predict(color_fit, image)
    measured = read_results(FitDir(color_fit))
    assert result.weights is not None
    assert result.weights.score == measured.score
    assert result.to_dict()["weights"]["seed"] == measured.measurement.seed
    assert result.weights.trainings == 1


def test_onnx_file_says_which_training_its_weights_are_from(
    color_fit, tmp_path, phinas_in_process
) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    exported = phinas_in_process("export", color_fit, "--out", path)
    assert f"The weights of {color_fit} reach " in exported.stdout
    origin = front.load_model(path).origin
    assert origin == front.load_model(color_fit).origin
    assert origin is not None
