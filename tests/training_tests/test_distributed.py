"""Several processes together do what one would do with the whole batch. Two of them, on the CPU,
are this file as a script.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Recipe
from phinas.space.blocks import build
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.dataloader import ImageBatches
from phinas.training.data.prepared_dataset import read_prepared
from phinas.training.engine.checkpoint import CheckpointManager
from phinas.training.engine.distributed import (
    SINGLE_PROCESS,
    CpuSyncBatchNorm,
    DistributedContext,
    init_distributed,
)
from phinas.training.engine.evaluate import evaluate
from phinas.training.engine.initialization import FROM_SCRATCH, Initialization
from phinas.training.engine.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
# Of dropped paths and dropout each process draws its own. One stage has every kind of layer.
ALIKE = replace(SPEC, stages=SPEC.stages[:1], dropout=0.0, drop_path=0.0)
RECIPES = {
    "plain": {},
    "all of it": {
        "min_crop_area": 0.5,
        "randaugment_magnitude": 0.4,
        "cutout_size": 0.3,
        "ema_fraction": 0.3,
        "class_balanced_loss": True,
        "micro_batch_size": 24,
        "initial_resolution_fraction": 0.5,
    },
}


def scarce(network):
    """Let there be memory for eight images at a time in training."""

    def hook(module, inputs):
        if module.training and len(inputs[0]) > 8:
            raise torch.OutOfMemoryError("as if")

    network.register_forward_pre_hook(hook)


def trained(data, name, distributed=SINGLE_PROCESS, initialization=FROM_SCRATCH, **more):
    """A network after some steps of 48 images; of parts each process has half."""
    options = {"epochs": 2, "batch_size": 48, "learning_rate": 0.05} | RECIPES[name] | more
    if distributed.world_size > 1 and "micro_batch_size" in options:
        options["micro_batch_size"] //= distributed.world_size
    how = {
        "max_shift": 0.125,
        "horizontal_flip": True,
        "seed": 3,
        "device": torch.device("cpu"),
        "distributed": distributed,
        "initialization": initialization,
    }
    return train(ALIKE, data, recipe=Recipe(**options), **how)


def batch_of_norm():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(8, 3, 5, 5, generator=generator) + 2, torch.randn(
        8, 3, 5, 5, generator=generator
    )


def normalized(norm, images, weights):
    """What a batch norm gives of images, and the gradients of a loss that weighs it."""
    nn.init.constant_(norm.weight, 1.5)
    images = images.clone().requires_grad_(True)
    outputs = norm(images)
    (outputs * weights).sum().backward()
    facts = {
        "outputs": outputs,
        "images": images.grad,
        "weight.grad": norm.weight.grad,
        "bias.grad": norm.bias.grad,
    }
    return {
        name: tensor.detach().contiguous() for name, tensor in facts.items()
    } | norm.state_dict()


def score(distributed=SINGLE_PROCESS):
    """Of an untrained network on 1,203 images: two whole batches and a part of one."""
    torch.manual_seed(0)
    images = torch.randint(256, (1203, 8, 8, 1), dtype=torch.uint8).numpy()
    held = ImageBatches(
        images, torch.randint(10, (1203,)).numpy(), resolution=8, device=torch.device("cpu")
    )
    half = torch.full((1, 1, 1, 1), 0.5)
    return evaluate(
        build(SPEC), held, classes=10, mean=half, std=half, distributed=distributed
    ).to_dict()


class Asked(CheckpointManager):
    """Due once in the first process, and always in the other, whose clock nobody sets: it writes
    none.
    """

    written = 0

    @property
    def is_due(self):
        return self.written == 0

    def write(self, tensors, facts):
        self.written += 1
        super().write(tensors, facts)


def share(directory: Path) -> None:
    """What one of two processes does; its results are files."""
    torch.set_num_threads(1)
    with init_distributed("cpu") as (distributed, device):
        assert device == "cpu"
        images, weights = (tensor[distributed.rank :: 2] for tensor in batch_of_norm())
        save_file(
            normalized(CpuSyncBatchNorm(3, momentum=0.3), images, weights),
            directory / f"norm.{distributed.rank}",
        )
        distributed.on_rank_zero(lambda: (directory / "led").open("a").write("once\n"))
        data = read_prepared(directory)
        for name in RECIPES:
            save_file(
                trained(data, name, distributed).model.state_dict(),
                directory / f"{name}.{distributed.rank}",
            )
        taken = Asked(directory / "it.checkpoint", "key", seconds=1e9)
        # 20 steps an epoch, and every 10 they ask one another
        recipe = Recipe(epochs=2, batch_size=10)
        train(
            ALIKE,
            data,
            recipe=recipe,
            max_shift=0,
            horizontal_flip=False,
            seed=3,
            device=torch.device("cpu"),
            distributed=distributed,
            checkpoints=taken,
        )
        (directory / f"written.{distributed.rank}").write_text(str(taken.written))
        each_one = trained(data, "plain", distributed, batch_size=2, max_minutes=0.001)
        (directory / f"each one.{distributed.rank}").write_text(
            f"{each_one.micro_batch_size} {each_one.stop_reason}"
        )
        parted = trained(
            data,
            "plain",
            distributed,
            Initialization(scarce) if distributed.is_rank_zero else FROM_SCRATCH,
        )
        save_file(parted.model.state_dict(), directory / f"parted.{distributed.rank}")
        (directory / f"parts.{distributed.rank}").write_text(
            f"{parted.micro_batch_size} {parted.micro_batch_reduced}"
        )
        kept = {}
        initialization = Initialization(
            lambda network: kept.update(
                {name: each.clone() for name, each in network.state_dict().items()}
            ),
            True,
        )
        recipe = Recipe(epochs=1, batch_size=48)
        frozen = train(
            replace(ALIKE, dropout=0.1),
            data,
            recipe=recipe,
            max_shift=0,
            horizontal_flip=False,
            seed=3,
            device=torch.device("cpu"),
            distributed=distributed,
            initialization=initialization,
        )
        save_file(kept, directory / f"before.{distributed.rank}")
        save_file(frozen.model.state_dict(), directory / f"frozen.{distributed.rank}")
        (directory / f"score.{distributed.rank}").write_text(json.dumps(score(distributed)))
        if not distributed.is_rank_zero:
            (directory / "end").touch()
        distributed.on_rank_zero(lambda: sys.exit(7))


@pytest.fixture(scope="module")
def shared(tmp_path_factory, digits):
    """A directory with digits, and what two processes made of them."""
    directory = tmp_path_factory.mktemp("shared")
    digits(directory, max_train_images=200, max_validation_images=50)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PYTHONPATH": str(Path.cwd()),
    }
    result = subprocess.run(
        [sys.executable, __file__, directory],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (directory / "end").exists(), result.stderr
    return directory


def both(directory, name):
    return [load_file(directory / f"{name}.{rank}") for rank in range(2)]


def test_a_batch_norm_of_two_processes_is_that_of_the_joined_batch(shared):
    images, weights = batch_of_norm()
    whole = normalized(nn.BatchNorm2d(3, momentum=0.3), images, weights)
    first, second = both(shared, "norm")
    for name in ("outputs", "images"):
        joined = torch.stack([first[name], second[name]], dim=1).flatten(0, 1)
        assert torch.allclose(joined, whole[name], atol=1e-5)
    # of the own images: DistributedDataParallel joins them
    for name in (
        "weight.grad",
        "bias.grad",
    ):
        assert torch.allclose(first[name] + second[name], whole[name], atol=1e-4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.allclose(first[name], whole[name], atol=1e-5)
        assert torch.equal(first[name], second[name])


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_the_network_that_one_does(name, shared):
    alone = trained(read_prepared(shared), name).model.state_dict()
    first, second = both(shared, name)
    for key, tensor in alone.items():
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key], tensor, atol=2e-3, rtol=2e-3), key


def test_a_frozen_backbone_stays_what_it_is_in_every_process(shared):
    (before, _), (frozen, other) = both(shared, "before"), both(shared, "frozen")
    for name, tensor in before.items():
        assert torch.equal(frozen[name], tensor) == (not name.startswith("classifier")), name
        assert torch.equal(frozen[name], other[name]), name


def test_where_one_process_has_too_little_memory_all_pass_their_images_in_the_same_parts(shared):
    """As one process does that passes 12 images at a time: each of the two takes half of every
    batch of 48.
    """
    assert [(shared / f"parts.{rank}").read_text() for rank in range(2)] == ["6 True", "6 True"]
    alone = trained(read_prepared(shared), "plain", micro_batch_size=12).model.state_dict()
    first, second = both(shared, "parted")
    for key, tensor in alone.items():
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key], tensor, atol=2e-3, rtol=2e-3), key


def test_processes_with_one_image_each_train_as_well(shared):
    assert [(shared / f"each one.{rank}").read_text() for rank in range(2)] == [
        "1 deadline",
        "1 deadline",
    ]


def test_snapshots_are_written_when_they_are_due_in_the_first_process(shared):
    assert [(shared / f"written.{rank}").read_text() for rank in range(2)] == ["1", "0"]


def test_two_processes_score_as_one_does(shared):
    alone = score()
    assert [json.loads((shared / f"score.{rank}").read_text()) for rank in range(2)] == [
        alone,
        alone,
    ]


def test_what_the_first_process_does_alone_is_done_once_and_its_error_ends_all(shared):
    assert (shared / "led").read_text() == "once\n"
    assert (shared / "codes").read_text() == "7 1"


def test_a_batch_is_shared_evenly_or_refused():
    assert DistributedContext(0, 3).global_batch_size(100) == 99
    with pytest.raises(InputError, match=r"4 processes can't share a batch of 3; start fewer"):
        DistributedContext(0, 4).global_batch_size(3)


@pytest.mark.parametrize(
    ("environment", "device", "told"),
    [
        ({}, "cpu", "RANK is not set; start with torchrun, or unset WORLD_SIZE"),
        (
            {"RANK": "1", "LOCAL_RANK": "99", "MASTER_ADDR": "x", "MASTER_PORT": "1"},
            "cuda",
            "process 99 has no GPU of its own",
        ),
        (
            {"RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "1"},
            "cuda:1",
            "gives each process its own GPU",
        ),
    ],
)
def test_processes_that_cannot_be_joined_are_refused(environment, device, told, monkeypatch):
    for name, value in ({"WORLD_SIZE": "2"} | environment).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=told), init_distributed(device):
        pass
    assert not dist.is_initialized()


def fork_ranks(directory: Path) -> None:
    """Fork both processes from this one, so that torch is imported once; write their exit codes."""
    importlib.import_module("torch._dynamo")  # which an optimizer imports
    process_ids = []
    for rank in range(2):
        process_id = os.fork()
        if process_id == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            share(directory)
            return
        process_ids.append(process_id)
    statuses = [os.waitpid(process_id, 0)[1] for process_id in process_ids]
    codes = [os.waitstatus_to_exitcode(status) for status in statuses]
    (directory / "codes").write_text(" ".join(map(str, codes)))


if __name__ == "__main__":
    fork_ranks(Path(sys.argv[1]))
