"""Tests of initial weights in the forms that users have: without a classifier, from a distributed
training, with another number of channels, or inside a training checkpoint.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from phinas.cli import cli
from phinas.errors import run_command

NETWORK = "timm:test_efficientnet"
STEM = "conv_stem.weight"  # in the naming of timm


@pytest.fixture(scope="module")
def exported_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "exported.safetensors"
    assert run_command(cli, ["export", NETWORK, "--to", "timm", "--out", str(path)]) == 0
    return path


@pytest.fixture
def timm_weights(exported_weights):
    """State dict of NETWORK in the naming of timm, for 1,000 classes and three channels."""
    return load_file(exported_weights)


@pytest.fixture
def color_images(tmp_path, write_class_folders):
    return write_class_folders(tmp_path / "images", 12, width=32, height=32)


@pytest.fixture
def fine_tune(tmp_path, run_phinas):
    """Function that trains the classifier for one epoch.

    It returns the result of the command and the weights that it wrote (None if it failed).
    """

    def fit(weights, data):
        out = tmp_path / "fit"
        call = ["fit", NETWORK, "--data", data, "--weights", weights, "--freeze-backbone"]
        call += ["--resolution", "32", "--upsample", "--recipe", "quick", "--epochs", "1"]
        call += ["--batch-size", "8", "--threads", "1", "--device", "cpu", "--out", out]
        result = run_phinas(*call, "--set", "data.max_train_images=16")
        return result, load_file(out / "weights.safetensors") if result.exit_code == 0 else None

    return fit


def without_classifier(state):
    return {name: tensor for name, tensor in state.items() if "classifier" not in name}


def with_module_prefix(state):
    return {f"module.{name}": tensor for name, tensor in state.items()}


def save_checkpoint(path, state, *, key=None):
    """Write a PyTorch file of a state dict, or of a training checkpoint with it under `key`."""
    torch.save(state if key is None else {key: state, "epoch": 3}, path)
    return path


def assert_backbone_was_loaded(fine_tuned, state):
    result, trained = fine_tuned
    assert result.exit_code == 0, result.stderr
    assert torch.equal(trained["stem.conv.weight"], state[STEM])


def test_weights_of_another_number_of_classes_are_loaded(
    tmp_path, timm_weights, color_images, fine_tune
):
    save_file(timm_weights, tmp_path / "weights.safetensors")
    fine_tuned = fine_tune(tmp_path / "weights.safetensors", color_images)
    assert_backbone_was_loaded(fine_tuned, timm_weights)


def test_weights_without_a_classifier_are_loaded(tmp_path, timm_weights, color_images, fine_tune):
    save_file(without_classifier(timm_weights), tmp_path / "weights.safetensors")
    fine_tuned = fine_tune(tmp_path / "weights.safetensors", color_images)
    assert_backbone_was_loaded(fine_tuned, timm_weights)


def test_reinitialized_classifier_is_reported(tmp_path, timm_weights, color_images, fine_tune):
    save_file(without_classifier(timm_weights), tmp_path / "weights.safetensors")
    result, _ = fine_tune(tmp_path / "weights.safetensors", color_images)
    assert result.exit_code == 0, result.stderr
    lines = result.output.splitlines()
    assert any("classifier" in line and "reinitialized" in line for line in lines)


def test_module_prefix_is_stripped(tmp_path, timm_weights, color_images, fine_tune):
    save_file(with_module_prefix(timm_weights), tmp_path / "weights.safetensors")
    fine_tuned = fine_tune(tmp_path / "weights.safetensors", color_images)
    assert_backbone_was_loaded(fine_tuned, timm_weights)


def test_stripped_prefix_is_reported(tmp_path, timm_weights, color_images, fine_tune):
    save_file(with_module_prefix(timm_weights), tmp_path / "weights.safetensors")
    result, _ = fine_tune(tmp_path / "weights.safetensors", color_images)
    assert result.exit_code == 0, result.stderr
    assert "module." in result.output


def test_stem_of_color_weights_is_summed_for_one_channel(tmp_path, timm_weights, fine_tune):
    save_file(timm_weights, tmp_path / "weights.safetensors")
    result, trained = fine_tune(tmp_path / "weights.safetensors", "digits")
    assert result.exit_code == 0, result.stderr
    summed = timm_weights[STEM].sum(dim=1, keepdim=True)
    torch.testing.assert_close(trained["stem.conv.weight"], summed)


def test_stem_adapted_to_one_channel_is_reported(tmp_path, timm_weights, fine_tune):
    save_file(timm_weights, tmp_path / "weights.safetensors")
    result, _ = fine_tune(tmp_path / "weights.safetensors", "digits")
    assert result.exit_code == 0, result.stderr
    assert any("stem" in line and "channel" in line for line in result.output.splitlines())


def test_pytorch_file_of_a_state_dict_is_loaded(tmp_path, timm_weights, color_images, fine_tune):
    path = save_checkpoint(tmp_path / "weights.pth", timm_weights)
    assert_backbone_was_loaded(fine_tune(path, color_images), timm_weights)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_state_dict_inside_a_training_checkpoint_is_loaded(
    key, tmp_path, timm_weights, color_images, fine_tune
):
    path = save_checkpoint(tmp_path / "checkpoint.pth", timm_weights, key=key)
    assert_backbone_was_loaded(fine_tune(path, color_images), timm_weights)


def test_use_of_a_state_dict_inside_a_training_checkpoint_is_reported(
    tmp_path, timm_weights, color_images, fine_tune
):
    path = save_checkpoint(tmp_path / "checkpoint.pth", timm_weights, key="state_dict")
    result, _ = fine_tune(path, color_images)
    assert result.exit_code == 0, result.stderr
    assert "state_dict" in result.output


class TouchFile:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pytorch_file_that_runs_code_is_refused(tmp_path, color_images, fine_tune):
    created_file = tmp_path / "code_was_run"
    torch.save({"state_dict": TouchFile(created_file)}, tmp_path / "hostile.pth")
    result, _ = fine_tune(tmp_path / "hostile.pth", color_images)
    assert result.exit_code == 2
    assert "hostile.pth" in result.stderr
    assert not created_file.exists()


def test_error_about_a_tensor_of_another_shape_has_both_shapes(
    tmp_path, timm_weights, color_images, fine_tune
):
    rows, *rest = timm_weights["conv_head.weight"].shape
    state = timm_weights | {"conv_head.weight": torch.zeros(rows + 8, *rest)}
    save_file(state, tmp_path / "weights.safetensors")
    result, _ = fine_tune(tmp_path / "weights.safetensors", color_images)
    assert result.exit_code == 2
    expected = ("weights.safetensors", "conv_head.weight", f"({rows}, ", f"({rows + 8}, ")
    assert all(text in result.stderr for text in expected)
