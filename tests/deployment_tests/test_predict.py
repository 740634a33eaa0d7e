"""`phinas predict`: predictions, scores where folders say the labels, and bad images."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import phinas as front
from phinas.api.predict import PredictResult
from phinas.deployment.classify import ClassProbability, Prediction
from phinas.experiment.artifacts.fit import FitMeasurement
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir


@pytest.fixture(scope="module")
def onnx_file(color_fit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    front.export(str(color_fit), out=path)
    return path


def test_scores_of_the_test_folder_are_those_of_the_card(color_fit, color_images) -> None:
    result = front.predict(color_fit, color_images / "test")
    measurement = FitMeasurement.read(FitDir(color_fit).measurement).measurement
    scores = result.scores
    assert scores is not None
    assert scores.images == measurement.images == len(result.predictions)
    assert scores.accuracy == pytest.approx(measurement.score, abs=1e-9)
    assert scores.interval == measurement.interval()
    assert scores.balanced_accuracy == pytest.approx(measurement.balanced_accuracy, abs=1e-5)
    recalls = [row.recall for row in scores.classes]
    assert recalls == pytest.approx(list(measurement.per_class_accuracy), abs=1e-5)
    with FitDir(color_fit).confusion.open() as file:
        rows = list(csv.reader(file))[1:]
    names = [row.name for row in scores.classes]
    for label, predicted, count in rows:
        assert scores.confusion[names.index(label)][names.index(predicted)] == int(count)
    assert sum(map(sum, scores.confusion)) == sum(int(row[2]) for row in rows)


def test_onnx_file_predicts_what_the_fit_predicts(color_fit, onnx_file, color_images) -> None:
    files = sorted((color_images / "test" / "dots").iterdir())[:7]
    one, other = (front.predict(model, *files, top=2) for model in (color_fit, onnx_file))
    for row, other_row in zip(one.predictions, other.predictions, strict=True):
        assert (row.path, row.label) == (other_row.path, None)
        assert [each.name for each in row.classes] == [each.name for each in other_row.classes]
        probabilities = [each.probability for each in row.classes]
        assert probabilities == pytest.approx(
            [each.probability for each in other_row.classes], abs=1e-4
        )
        assert probabilities == sorted(probabilities, reverse=True)


def test_command_prints_a_line_for_each_image_and_the_scores(
    color_fit, color_images, phinas_in_process
) -> None:
    result = phinas_in_process("predict", color_fit, color_images / "test" / "bars", "--top", "1")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert sum("bars/0" in line for line in lines) == 30
    assert any(line.startswith("accuracy ") and "30 labeled images" in line for line in lines)
    assert "confusion matrix (images)" in lines
    wrong = [line for line in lines if line.endswith("(label: bars)")]
    assert len(wrong) == sum("bars/0" in line and ": bars " not in line for line in lines)


def test_command_writes_a_csv_file(color_fit, color_images, tmp_path, phinas_in_process) -> None:
    path = tmp_path / "predictions.csv"
    result = phinas_in_process(
        "predict", color_fit, color_images / "test", "--csv", path, "--top", "2"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{path}: 90 predictions\naccuracy ")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 90
    assert list(rows[0]) == [
        *("path", "label", "class_1", "probability_1", "class_2", "probability_2")
    ]
    assert {row["label"] for row in rows} == {"bars", "dots", "fade"}


def test_class_names_in_the_csv_table_are_no_formulas() -> None:
    prediction = Prediction(Path("a.png"), "=1+1", (ClassProbability("@x", 0.9),))
    text = PredictResult("m", "n", (prediction,), (), None).to_csv()
    assert text == "path,label,class_1,probability_1\na.png,'=1+1,'@x,0.9\n"


def test_command_prints_json(color_fit, color_images, phinas_in_process) -> None:
    image = color_images / "test" / "fade" / "001.png"
    result = phinas_in_process("predict", color_fit, image, "--json")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["predictions"][0]["path"] == str(image)
    assert len(data["predictions"][0]["classes"]) == 3
    assert data["scores"] is None  # a file alone has no label
    total = sum(row["probability"] for row in data["predictions"][0]["classes"])
    assert total == pytest.approx(1, abs=1e-5)


def test_bad_images_are_named_and_counted(
    color_fit, color_images, tmp_path, phinas_in_process
) -> None:
    shutil.copy(color_images / "test" / "bars" / "001.png", tmp_path / "good.png")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "notes.txt").write_text("not an image")
    result = phinas_in_process("predict", color_fit, tmp_path)
    assert result.returncode == 2
    assert "good.png: " in result.stdout
    assert f"bad image: {tmp_path / 'empty.jpg'} is empty (0 bytes)" in result.stderr
    assert "page.png is an HTML page" in result.stderr
    assert "2 of 3 images cannot be read" in result.stderr
    assert "1 .txt" in result.stderr
    skipping = phinas_in_process("predict", color_fit, tmp_path, "--skip-bad-images")
    assert skipping.returncode == 0
    assert "empty.jpg" in skipping.stderr


def test_images_outside_of_class_folders_have_no_label(color_fit, color_images, tmp_path) -> None:
    for folder in ("bars", "birds", "a/dots/b"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(color_images / "test" / "bars" / "001.png", tmp_path / folder)
    result = front.predict(color_fit, tmp_path)
    labels = {str(row.path.parent.relative_to(tmp_path)): row.label for row in result.predictions}
    assert labels == {"bars": "bars", "birds": None, "a/dots/b": "dots"}
    assert result.scores is not None
    assert result.scores.images == 2


@pytest.mark.parametrize(
    ("model", "images", "message"),
    [
        ("nowhere", ("{}/test",), "'nowhere' is no trained network; name the directory of a fit"),
        ("nowhere.onnx", ("{}/test",), "model: 'nowhere.onnx' does not exist"),
        ("efficientnet_b0", ("{}/test",), "'efficientnet_b0' is no trained network"),
        ("FIT", ("{}/gone",), "gone' does not exist; check the path"),
        ("FIT", (), "images: are missing; name image files"),
        ("{}", ("{}/test",), "is not the directory of a fit"),
    ],
)
def test_wrong_arguments_are_refused(
    model, images, message, color_fit, color_images, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [image.format(color_images) for image in images]
    with pytest.raises(InputError) as caught:
        front.predict(str(color_fit) if model == "FIT" else model.format(color_images), *paths)
    assert message in str(caught.value)


def test_folder_without_any_good_image_is_refused(color_fit, tmp_path) -> None:
    with pytest.raises(InputError, match="there are none in"):
        front.predict(color_fit, tmp_path)
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 1 image can be read: .*bad.png is empty"):
        front.predict(color_fit, tmp_path)


def test_fit_that_has_not_finished_is_refused(color_fit, color_images, tmp_path) -> None:
    shutil.copytree(color_fit, tmp_path / "fit")
    (tmp_path / "fit" / "spec.yaml").unlink()
    with pytest.raises(InputError, match="the training has not finished"):
        front.predict(tmp_path / "fit", color_images / "test")


@pytest.mark.slow
def test_member_of_a_run_predicts_and_a_run_alone_is_refused(
    finished_run, tmp_path, phinas_in_process
) -> None:
    Image.new("L", (8, 8), 200).save(tmp_path / "digit.png")
    result = phinas_in_process("predict", f"{finished_run}:b0", tmp_path / "digit.png")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{tmp_path / 'digit.png'}: ")
    alone = phinas_in_process("predict", finished_run, tmp_path / "digit.png")
    assert alone.returncode == 2
    assert f"such as {finished_run}:b0" in alone.stderr
    unknown = phinas_in_process("predict", f"{finished_run}:b99", tmp_path / "digit.png")
    assert unknown.returncode == 2
    assert "has no family member 'b99'" in unknown.stderr
    trial = phinas_in_process("predict", f"{finished_run}:trial-0", tmp_path / "digit.png")
    assert trial.returncode == 2
    assert f"train this network with `phinas fit {finished_run}:trial-0`" in trial.stderr
    other = phinas_in_process("predict", f"{finished_run}:best", tmp_path / "digit.png")
    assert other.returncode == 2
    assert "its members are b0" in other.stderr
