"""Tests that several processes train like one process with the full batch.

The `shared` fixture runs this file as a script, which forks two processes on the CPU.
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
from phinas.training.request import TrainingRequest, TrainingSettings

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
# without stochastic depth and dropout, whose random numbers differ between processes; one stage has
# every kind of layer
DETERMINISTIC = replace(SPEC, stages=SPEC.stages[:1], dropout=0.0, drop_path=0.0)
RECIPES = {
    "plain": {},
    "all options": {
        "min_crop_area": 0.5,
        "randaugment_magnitude": 0.4,
        "cutout_size": 0.3,
        "ema_fraction": 0.3,
        "class_balanced_loss": True,
        "micro_batch_size": 24,
        "initial_resolution_fraction": 0.5,
    },
    "fine-tuning": {
        "optimizer": "adamw",
        "learning_rate": 0.003,
        "backbone_learning_rate_factor": 0.1,
        "freeze_batch_norm": True,
    },
}


def limit_memory(network):
    """Raise an out-of-memory error for more than eight images in a forward pass of the training."""

    def hook(module, inputs):
        if module.training and len(inputs[0]) > 8:
            raise torch.OutOfMemoryError("simulated")

    network.register_forward_pre_hook(hook)


def train_recipe(data, name, distributed=SINGLE_PROCESS, initialization=FROM_SCRATCH, **changes):
    """Train with a recipe of RECIPES and a batch size of 48; micro-batches are divided as well."""
    options = {"epochs": 2, "batch_size": 48, "learning_rate": 0.05} | RECIPES[name] | changes
    if distributed.world_size > 1 and "micro_batch_size" in options:
        options["micro_batch_size"] //= distributed.world_size
    settings = TrainingSettings(0.125, True, device="cpu")
    return train(
        TrainingRequest(DETERMINISTIC, Recipe(**options), 3, settings),
        data,
        distributed=distributed,
        initialization=initialization,
    )


def make_norm_batch():
    """Return a batch, and a weight of each output element in the loss."""
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(8, 3, 5, 5, generator=generator) + 2, torch.randn(
        8, 3, 5, 5, generator=generator
    )


def run_norm(norm, images, weights):
    """Return outputs, gradients and statistics of a batch norm, for a weighted sum as the loss."""
    nn.init.constant_(norm.weight, 1.5)
    images = images.clone().requires_grad_(True)
    outputs = norm(images)
    (outputs * weights).sum().backward()
    tensors = {
        "outputs": outputs,
        "images": images.grad,
        "weight.grad": norm.weight.grad,
        "bias.grad": norm.bias.grad,
    }
    return {
        name: tensor.detach().contiguous() for name, tensor in tensors.items()
    } | norm.state_dict()


def evaluate_untrained(distributed=SINGLE_PROCESS):
    """Evaluate an untrained network on 1,203 images: two full batches and an incomplete one."""
    torch.manual_seed(0)
    images = torch.randint(256, (1203, 8, 8, 1), dtype=torch.uint8).numpy()
    batches = ImageBatches(
        images, torch.randint(10, (1203,)).numpy(), resolution=8, device=torch.device("cpu")
    )
    half = torch.full((1, 1, 1, 1), 0.5)
    return evaluate(
        SPEC.build(),
        batches,
        classes=10,
        mean=half,
        std=half,
        metric="macro_f1",
        distributed=distributed,
    ).to_dict()


class DueOnce(CheckpointManager):
    """Due until the first write: once in rank 0, and always in rank 1, which does not write."""

    num_writes = 0

    @property
    def is_due(self):
        return self.num_writes == 0

    def write(self, tensors, progress):
        self.num_writes += 1
        super().write(tensors, progress)


def run_rank(directory: Path) -> None:
    """Run all trainings and evaluations in one of two processes, and write the results as files."""
    torch.set_num_threads(1)
    with init_distributed("cpu") as (distributed, device):
        assert device == "cpu"
        images, weights = (tensor[distributed.rank :: 2] for tensor in make_norm_batch())
        save_file(
            run_norm(CpuSyncBatchNorm(3, momentum=0.3), images, weights),
            directory / f"norm.{distributed.rank}",
        )
        distributed.on_rank_zero(lambda: (directory / "rank_zero").open("a").write("once\n"))
        data = read_prepared(directory)
        for name in RECIPES:
            save_file(
                train_recipe(data, name, distributed).model.state_dict(),
                directory / f"{name}.{distributed.rank}",
            )
        checkpoints = DueOnce(directory / "training.checkpoint", "key", seconds=1e9)
        # 20 steps per epoch; the processes synchronize after every 10
        recipe = Recipe(epochs=2, batch_size=10)
        settings = TrainingSettings(0, False, device="cpu")
        request = TrainingRequest(DETERMINISTIC, recipe, 3, settings)
        train(request, data, distributed=distributed, checkpoints=checkpoints)
        (directory / f"writes.{distributed.rank}").write_text(str(checkpoints.num_writes))
        one_image = train_recipe(data, "plain", distributed, batch_size=2, max_minutes=0.001)
        (directory / f"one_image.{distributed.rank}").write_text(
            f"{one_image.micro_batch_size} {one_image.stop_reason}"
        )
        reduced = train_recipe(
            data,
            "plain",
            distributed,
            Initialization(limit_memory) if distributed.is_rank_zero else FROM_SCRATCH,
        )
        save_file(reduced.model.state_dict(), directory / f"reduced.{distributed.rank}")
        (directory / f"micro_batch.{distributed.rank}").write_text(
            f"{reduced.micro_batch_size} {reduced.micro_batch_reduced}"
        )
        initial_weights = {}
        initialization = Initialization(
            lambda network: initial_weights.update(
                {name: tensor.clone() for name, tensor in network.state_dict().items()}
            ),
            freeze_backbone=True,
        )
        recipe = Recipe(epochs=1, batch_size=48)
        frozen = train(
            TrainingRequest(replace(DETERMINISTIC, dropout=0.1), recipe, 3, settings),
            data,
            distributed=distributed,
            initialization=initialization,
        )
        save_file(initial_weights, directory / f"initial.{distributed.rank}")
        save_file(frozen.model.state_dict(), directory / f"frozen.{distributed.rank}")
        evaluation = evaluate_untrained(distributed)
        (directory / f"evaluation.{distributed.rank}").write_text(json.dumps(evaluation))
        if not distributed.is_rank_zero:
            (directory / "end").touch()
        distributed.on_rank_zero(lambda: sys.exit(7))


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


@pytest.fixture(scope="module")
def shared(tmp_path_factory, digits):
    """A directory with digits and with the results of both processes."""
    directory = tmp_path_factory.mktemp("shared")
    digits(directory, max_train_images=200, max_validation_images=50)
    environment = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
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


def load_both(directory, name):
    """Load the tensors that both processes wrote under a name."""
    return [load_file(directory / f"{name}.{rank}") for rank in range(2)]


def test_batch_norm_of_two_processes_equals_that_of_the_full_batch(shared):
    images, weights = make_norm_batch()
    expected = run_norm(nn.BatchNorm2d(3, momentum=0.3), images, weights)
    first, second = load_both(shared, "norm")
    for name in ("outputs", "images"):
        joined = torch.stack([first[name], second[name]], dim=1).flatten(0, 1)
        assert torch.allclose(joined, expected[name], atol=1e-5)
    # each process has the gradients of its images, which DistributedDataParallel averages
    for name in ("weight.grad", "bias.grad"):
        assert torch.allclose(first[name] + second[name], expected[name], atol=1e-4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.allclose(first[name], expected[name], atol=1e-5)
        assert torch.equal(first[name], second[name])


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_the_same_network_as_one(name, shared):
    single = train_recipe(read_prepared(shared), name).model.state_dict()
    first, second = load_both(shared, name)
    for key, tensor in single.items():
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key], tensor, atol=2e-3, rtol=2e-3), key


def test_a_frozen_backbone_is_unchanged_in_every_process(shared):
    (initial, _), (frozen, other) = load_both(shared, "initial"), load_both(shared, "frozen")
    for name, tensor in initial.items():
        assert torch.equal(frozen[name], tensor) == (not name.startswith("classifier")), name
        assert torch.equal(frozen[name], other[name]), name


def test_out_of_memory_in_one_process_reduces_the_micro_batch_in_all(shared):
    """The result is that of one process with micro-batches of 12 images, since each of the two
    processes trains on half of every batch of 48.
    """
    sizes = [(shared / f"micro_batch.{rank}").read_text() for rank in range(2)]
    assert sizes == ["6 True", "6 True"]
    single = train_recipe(read_prepared(shared), "plain", micro_batch_size=12).model.state_dict()
    first, second = load_both(shared, "reduced")
    for key, tensor in single.items():
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key], tensor, atol=2e-3, rtol=2e-3), key


def test_processes_with_one_image_each_can_train(shared):
    results = [(shared / f"one_image.{rank}").read_text() for rank in range(2)]
    assert results == ["1 deadline", "1 deadline"]


def test_only_rank_zero_writes_checkpoints_when_they_are_due_there(shared):
    assert [(shared / f"writes.{rank}").read_text() for rank in range(2)] == ["1", "0"]


def test_two_processes_have_the_same_scores_as_one(shared):
    files = [shared / f"evaluation.{rank}" for rank in range(2)]
    assert [json.loads(file.read_text()) for file in files] == 2 * [evaluate_untrained()]


def test_a_function_runs_in_rank_zero_only_and_its_error_ends_all_processes(shared):
    assert (shared / "rank_zero").read_text() == "once\n"
    assert (shared / "codes").read_text() == "7 1"


def test_a_batch_is_divided_evenly_or_refused():
    assert DistributedContext(0, 3).global_batch_size(100) == 99
    with pytest.raises(
        InputError, match=r"4 processes are too many for a batch size of 3; start fewer"
    ):
        DistributedContext(0, 4).global_batch_size(3)


@pytest.mark.parametrize(
    ("environment", "device", "message"),
    [
        ({}, "cpu", "RANK is not set; start with torchrun, or unset WORLD_SIZE"),
        (
            {"RANK": "1", "LOCAL_RANK": "99", "MASTER_ADDR": "x", "MASTER_PORT": "1"},
            "cuda",
            "there is no GPU for process 99",
        ),
        (
            {"RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "1"},
            "cuda:1",
            "cuda:1 cannot be used with torchrun, which assigns a GPU to each process",
        ),
    ],
)
def test_an_invalid_torchrun_environment_is_refused(environment, device, message, monkeypatch):
    for name, value in ({"WORLD_SIZE": "2"} | environment).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message), init_distributed(device):
        pass
    assert not dist.is_initialized()


LOST_PEER = """
import os, sys, time
import torch
import torch.distributed as dist
from torch import nn
from phinas.experiment.errors import StorageError
from phinas.training.engine.distributed import init_distributed

peer_dies = sys.argv[1] == "peer dies"
rank = 0 if os.fork() else 1
os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
try:
    with init_distributed("cpu") as (distributed, _):
        model = distributed.wrap_model(nn.Linear(2, 2))
        model(torch.ones(1, 2)).sum().backward()
        if rank == 1:
            if peer_dies:
                os._exit(1)
            time.sleep(3)
            os._exit(0)
        if not peer_dies:
            raise RuntimeError("an error of this process")
        while True:
            model(torch.ones(1, 2)).sum().backward()
except (StorageError, RuntimeError) as error:
    print(type(error).__name__, error, flush=True)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("situation", "message"),
    [
        ("peer dies", "StorageError torchrun: process 0 lost the connection to process 1;"),
        ("peer lives", "RuntimeError an error of this process"),
    ],
)
def test_a_lost_process_is_distinguished_from_an_error_of_this_process(situation, message):
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    result = subprocess.run(
        [sys.executable, "-c", LOST_PEER, situation],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout.startswith(message), result.stderr


def fork_ranks(directory: Path) -> None:
    """Fork both processes, so that torch is imported once, and write their exit codes."""
    importlib.import_module("torch._dynamo")  # optimizers would import it in each process
    process_ids = []
    for rank in range(2):
        process_id = os.fork()
        if process_id == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            run_rank(directory)
            return
        process_ids.append(process_id)
    statuses = [os.waitpid(process_id, 0)[1] for process_id in process_ids]
    codes = [os.waitstatus_to_exitcode(status) for status in statuses]
    (directory / "codes").write_text(" ".join(map(str, codes)))


if __name__ == "__main__":
    fork_ranks(Path(sys.argv[1]))
