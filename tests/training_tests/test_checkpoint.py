"""Tests of checkpoints: damaged files are not used, and restored states are bit-identical."""

import pytest
import torch
from torch import nn

from phinas.experiment.schema.config import Recipe
from phinas.training.engine.checkpoint import (
    CheckpointManager,
    make_state_restorer,
    restore_state,
    state_tensors,
)
from phinas.training.engine.optimizer import make_optimizer

CPU = torch.device("cpu")


def checkpoints(tmp_path, *, key="key"):
    return CheckpointManager(tmp_path / "folder" / "training.checkpoint", key, seconds=60.0)


def test_the_newest_checkpoint_is_read(tmp_path):
    for number in (1, 2, 3):
        checkpoints(tmp_path).write({"weights": torch.full((3,), float(number))}, {"epoch": number})
    tensors, progress = checkpoints(tmp_path).read()
    assert tensors["weights"].tolist() == [3.0, 3.0, 3.0]
    assert progress["epoch"] == 3


def test_reading_without_a_checkpoint_returns_none(tmp_path):
    assert checkpoints(tmp_path).read() is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda _content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
        lambda _content: b"\x80\x04 a pickle",
    ],
    ids=["truncated", "empty", "flipped in a tensor", "flipped in the header", "pickle"],
)
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one_with_a_warning(tmp_path, damage):
    manager = checkpoints(tmp_path)
    for number in (1, 2):
        manager.write({"weights": torch.full((300,), float(number))}, {"epoch": number})
    path = tmp_path / "folder" / "training.checkpoint"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"training\.checkpoint: the checkpoint is damaged"):
        _, progress = checkpoints(tmp_path).read()
    assert progress["epoch"] == 1


def test_a_damaged_checkpoint_does_not_replace_an_intact_previous_one(tmp_path):
    manager, path = checkpoints(tmp_path), tmp_path / "folder" / "training.checkpoint"
    for number in (1, 2):
        manager.write({"weights": torch.zeros(1)}, {"epoch": number})
    path.write_bytes(b"")
    checkpoints(tmp_path).write({"weights": torch.zeros(1)}, {"epoch": 3})
    path.write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged"):
        assert checkpoints(tmp_path).read()[1]["epoch"] == 1


def test_remove_deletes_both_files(tmp_path):
    manager = checkpoints(tmp_path)
    for _ in range(2):
        manager.write({"weights": torch.zeros(1)}, {})
    assert len(list((tmp_path / "folder").iterdir())) == 2
    manager.remove()
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("in_place", [True, False])
def test_restoring_undoes_steps_completely(optimizer, steps_before, in_place):
    """In place as before a CUDA graph capture, or in a new model and optimizer."""

    def make_model():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
        return model, make_optimizer(
            model, Recipe(optimizer=optimizer, learning_rate=0.1, weight_decay=0.1)
        )

    def run_steps(model, updater, count):
        for _ in range(count):
            updater.zero_grad()
            model(torch.rand(6, 3)).square().mean().backward()
            updater.step()

    with torch.random.fork_rng(devices=[]):
        model, updater = make_model()
        run_steps(model, updater, steps_before)
        saved = {
            name: tensor.clone()
            for name, tensor in state_tensors({"network": model}, updater, CPU).items()
        }
        restore = make_state_restorer({"network": model}, updater, CPU)
        addresses = [parameter.data_ptr() for parameter in model.parameters()]
        run_steps(model, updater, 3)
        expected = [parameter.detach().clone() for parameter in model.parameters()]
        if in_place:
            restore()
            assert addresses == [parameter.data_ptr() for parameter in model.parameters()]
        else:
            model, updater = make_model()
            restore_state(saved, {"network": model}, updater, CPU)
        assert all(
            torch.equal(tensor, saved[name])
            for name, tensor in state_tensors({"network": model}, updater, CPU).items()
            if name in saved
        )
        run_steps(model, updater, 3)
        for parameter, expected_parameter in zip(model.parameters(), expected, strict=True):
            assert torch.equal(parameter, expected_parameter)
