"""Checkpoints: whole or not used, the one before in its place, and put back into what they were
taken from.
"""

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
    return CheckpointManager(tmp_path / "a" / "it.checkpoint", key, seconds=60.0)


def test_what_was_written_last_is_read(tmp_path):
    for number in (1, 2, 3):
        checkpoints(tmp_path).write({"weights": torch.full((3,), float(number))}, {"epoch": number})
    tensors, facts = checkpoints(tmp_path).read()
    assert tensors["weights"].tolist() == [3.0, 3.0, 3.0]
    assert facts["epoch"] == 3


def test_nothing_is_read_where_nothing_was_written(tmp_path):
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
    ids=["torn", "empty", "flipped in a tensor", "flipped in the header", "pickle"],
)
def test_a_damaged_snapshot_gives_way_to_the_one_before_with_a_warning(tmp_path, damage):
    taken = checkpoints(tmp_path)
    for number in (1, 2):
        taken.write({"weights": torch.full((300,), float(number))}, {"epoch": number})
    path = tmp_path / "a" / "it.checkpoint"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"it\.checkpoint: is damaged"):
        held = checkpoints(tmp_path).read()
    assert held[1]["epoch"] == 1
    # And a damaged one never takes the place of a whole one.
    with pytest.warns(UserWarning, match="is damaged"):
        checkpoints(tmp_path).read()
    checkpoints(tmp_path).write({"weights": torch.zeros(1)}, {"epoch": 3})
    path.write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged"):
        assert checkpoints(tmp_path).read()[1]["epoch"] == 1


def test_removed_snapshots_leave_nothing(tmp_path):
    taken = checkpoints(tmp_path)
    for _ in range(2):
        taken.write({"weights": torch.zeros(1)}, {})
    taken.remove()
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("in_place", [True, False])
def test_steps_that_are_undone_are_as_if_they_had_not_been(optimizer, steps_before, in_place):
    """In place for a captured graph, which is warmed by steps that do not count; else into others
    like them.
    """

    def made():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
        return model, make_optimizer(
            model, Recipe(optimizer=optimizer, learning_rate=0.1, weight_decay=0.1)
        )

    def step(model, mover):
        mover.zero_grad()
        model(torch.rand(6, 3)).square().mean().backward()
        mover.step()

    def go(model, mover, count):
        for _ in range(count):
            step(model, mover)

    with torch.random.fork_rng(devices=[]):
        model, mover = made()
        go(model, mover, steps_before)
        taken = {
            name: tensor.clone()
            for name, tensor in state_tensors({"network": model}, mover, CPU).items()
        }
        undo = make_state_restorer({"network": model}, mover, CPU)
        places = [parameter.data_ptr() for parameter in model.parameters()]
        go(model, mover, 3)
        expected = [parameter.detach().clone() for parameter in model.parameters()]
        if in_place:
            undo()
            assert places == [parameter.data_ptr() for parameter in model.parameters()]
        else:
            model, mover = made()
            restore_state(taken, {"network": model}, mover, CPU)
        assert all(
            torch.equal(tensor, taken[name])
            for name, tensor in state_tensors({"network": model}, mover, CPU).items()
            if name in taken
        )
        go(model, mover, 3)
        for parameter, was in zip(model.parameters(), expected, strict=True):
            assert torch.equal(parameter, was)
