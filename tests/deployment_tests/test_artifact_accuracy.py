"""An exported file alone, with image files, gives the accuracy of the model card to the image."""

import subprocess
import sys
from pathlib import Path

import pytest

import phinas as front
from phinas.experiment.artifacts.fit import FitMeasurement
from phinas.experiment.fit_dir import FitDir

HERE = Path(__file__).parent


def count_correct(script: str, model: Path, folder: Path) -> tuple[int, int]:
    """Run a script that does not import phinas; the number of correct images and of all."""
    result = subprocess.run(
        [sys.executable, "-I", str(HERE / script), str(model), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    correct, total = result.stdout.split()
    return int(correct), int(total)


def card_result(fit: Path) -> tuple[int, int]:
    """The number of correct test images and of all, as the card has them."""
    measurement = FitMeasurement.read(FitDir(fit).measurement).measurement
    assert f"Accuracy **{measurement.score:.1%}**" in FitDir(fit).model_card.read_text()
    return round(measurement.score * measurement.images), measurement.images


@pytest.mark.parametrize("resize_mode", ["crop", "squash", "letterbox"])
@pytest.mark.slow
def test_python_file_has_the_accuracy_of_the_card(
    resize_mode, color_images, fit_images, tmp_path
) -> None:
    fit = fit_images(color_images, resize_mode=resize_mode)
    front.export(str(fit), out=tmp_path / "net.py")
    result = count_correct("classify_with_file.py", tmp_path / "net.py", color_images / "test")
    assert result == card_result(fit)


@pytest.mark.parametrize("with_preprocessing", [False, True])
@pytest.mark.parametrize("resize_mode", ["crop", "squash", "letterbox"])
@pytest.mark.slow
def test_onnx_file_has_the_accuracy_of_the_card(
    resize_mode, with_preprocessing, color_images, fit_images, tmp_path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    fit = fit_images(color_images, resize_mode=resize_mode)
    path = tmp_path / "net.onnx"
    front.export(str(fit), out=path, with_preprocessing=with_preprocessing)
    correct, total = count_correct("classify_with_onnx.py", path, color_images / "test")
    expected = card_result(fit)
    if with_preprocessing:
        # single pixels of tall images may differ by one level
        assert abs(correct - expected[0]) <= 1
        assert total == expected[1]
    else:
        assert (correct, total) == expected


@pytest.mark.parametrize("with_preprocessing", [False, True])
@pytest.mark.slow
def test_gray_images_have_the_accuracy_of_the_card(
    with_preprocessing, gray_images, fit_images, tmp_path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    arrays, files = gray_images
    fit = fit_images(arrays, channels=1)
    front.export(str(fit), out=tmp_path / "net.onnx", with_preprocessing=with_preprocessing)
    assert count_correct("classify_with_onnx.py", tmp_path / "net.onnx", files) == card_result(fit)
    if not with_preprocessing:
        front.export(str(fit), out=tmp_path / "net.py")
        result = count_correct("classify_with_file.py", tmp_path / "net.py", files)
        assert result == card_result(fit)


@pytest.mark.parametrize("with_preprocessing", [False, True])
@pytest.mark.slow
def test_int8_file_is_near_the_accuracy_of_the_card_and_says_it(
    with_preprocessing, color_images, color_fit, tmp_path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    path = tmp_path / "net.onnx"
    exported = front.export(
        str(color_fit), out=path, int8=True, with_preprocessing=with_preprocessing
    )
    correct, total = card_result(color_fit)
    accuracy = exported.test_accuracy
    assert accuracy is not None
    assert accuracy.images == total
    assert round(accuracy.float32 * total) == correct
    assert accuracy.int8 == pytest.approx(accuracy.float32, abs=0.05)
    measured, _ = count_correct("classify_with_onnx.py", path, color_images / "test")
    # The rounding to 8 bits enlarges differences in the last bits.
    assert abs(measured - round(accuracy.int8 * total)) <= 0.03 * total
