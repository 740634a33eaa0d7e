"""The size at which images are decoded, and how images that are not square are cropped."""

import numpy as np
import pytest
from PIL import Image

ONE_EPOCH = ("--recipe", "quick", "--epochs", 1, "--threads", 1, "--device", "cpu")


# --- images above 224 px -------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path, write_class_folders):
    return write_class_folders(tmp_path / "photos", 6, width=480, height=400, suffix=".jpg")


def test_fit_decodes_images_at_the_resolution_of_its_network(
    photos, small_network, tmp_path, run_phinas
):
    out = tmp_path / "out"
    call = ("fit", small_network, "--data", photos, "--resolution", 300, *ONE_EPOCH)
    result = run_phinas(*call, "--out", out)
    assert result.exit_code == 0, result.stderr


@pytest.mark.slow
def test_scaling_can_increase_the_resolution_up_to_the_image_size(
    photos, small_network, run_phinas
):
    call = ("scale", "--baseline", small_network, "--data", photos, "--grid-step", 0.1, "--dry-run")
    result = run_phinas(*call)
    assert result.exit_code == 0, result.stderr


def test_resolution_above_the_images_is_refused_with_their_size(
    photos, small_network, tmp_path, run_phinas
):
    call = ("fit", small_network, "--data", photos, "--resolution", 500, *ONE_EPOCH)
    result = run_phinas(*call, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "500" in result.stderr
    assert "400" in result.stderr


def test_resolution_above_the_configured_cap_is_refused_with_the_key_of_the_cap(
    photos, small_network, tmp_path, run_phinas
):
    cap = "data.image_size"
    call = ("fit", small_network, "--data", photos, "--resolution", 100, *ONE_EPOCH)
    result = run_phinas(*call, "--set", f"{cap}=64", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "64" in result.stderr
    assert cap in result.stderr


def test_audit_reports_the_original_image_size(photos, run_phinas):
    result = run_phinas("audit", photos)
    assert result.exit_code == 0, result.stderr
    assert "400" in result.stdout


# --- images that are much wider than high -------------------------------------------------------


@pytest.fixture
def wide_images(tmp_path):
    """Dark noise with a bright mark at the left or right end, which determines the class."""
    for name, mark in (("left", slice(0, 12)), ("right", slice(52, 64))):
        folder = tmp_path / "wide" / name
        folder.mkdir(parents=True)
        for index in range(30):
            generator = np.random.default_rng(index + 1000 * (name == "right"))
            pixels = generator.integers(0, 60, (16, 64, 3), dtype=np.uint8)
            pixels[:, mark] = 220
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "wide"


@pytest.fixture
def decoded_images(wide_images, small_network, tmp_path, run_phinas):
    """The images of all splits in the directory of a fit, by resize mode."""

    def decode(resize_mode):
        out = tmp_path / "out"
        call = ("fit", small_network, "--data", wide_images, "--resolution", 16, *ONE_EPOCH)
        setting = f"data.resize_mode={resize_mode}"
        result = run_phinas(*call, "--set", setting, "--out", out)
        assert result.exit_code == 0, result.stderr
        arrays = [np.load(path, allow_pickle=False) for path in sorted(out.rglob("*.npy"))]
        images = np.concatenate([array for array in arrays if array.ndim == 4])
        assert len(images) == 60
        return images

    return decode


@pytest.mark.parametrize("resize_mode", ["squash", "letterbox"])
def test_resize_mode_keeps_what_is_at_the_edge(resize_mode, decoded_images):
    images = decoded_images(resize_mode)
    assert (images.reshape(len(images), -1).max(axis=1) > 150).all()


def test_resize_mode_crop_keeps_the_center(decoded_images):
    assert decoded_images("crop").max() < 100


def test_unknown_resize_mode_is_refused_with_the_modes(wide_images, run_phinas):
    result = run_phinas("audit", wide_images, "--set", "data.resize_mode=zoom")
    assert result.exit_code == 2
    assert all(mode in result.stderr for mode in ("zoom", "crop", "squash", "letterbox"))


def test_wide_images_that_the_crop_reduces_much_are_a_warning(wide_images, run_phinas):
    result = run_phinas("audit", wide_images)
    assert result.exit_code == 0, result.stderr
    assert "crop" in result.output


def test_square_images_are_not_a_warning(tmp_path, write_class_folders, run_phinas):
    root = write_class_folders(tmp_path / "square", 40)
    result = run_phinas("audit", root)
    assert result.exit_code == 0, result.stderr
    assert "crop" not in result.output
    assert "no problems found" in result.output
