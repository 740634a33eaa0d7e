"""Several processes that train one network together (`torchrun`), each on its part of every batch.

The one decision to know: together they do what one process would do with the whole batch, up to rounding: gradients are
averaged (DistributedDataParallel), batch statistics are those of the whole batch, and which images and which augmentation they
get does not depend on how many processes there are. One process is the case of one rank, without any of it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from experiment.errors import InputError


@dataclass(frozen=True, slots=True)
class Ranks:
    """rank: of this process, from 0; count: of processes."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def batch(self, size: int) -> int:
        """The largest batch of at most `size` images that can be shared evenly."""
        return max(size // self.count, 1) * self.count

    def part(self, chosen: Tensor) -> Tensor:
        """This process's images of a batch."""
        return chosen[self.rank :: self.count]

    def joined(self, model: nn.Module) -> nn.Module:
        """What to call in place of `model`, which keeps the weights; its batch norms become those of all processes."""
        if self.count == 1:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        if self.count == 1:
            return value
        summed = value.clone()
        dist.all_reduce(summed)
        return summed / self.count

    def any(self, flag: bool, *, device: torch.device) -> bool:
        """Whether it is so in any process: all get the same answer."""
        if self.count == 1:
            return flag
        told = torch.tensor(float(flag), device=device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told.item())


ALONE = Ranks()


@contextmanager
def ranks_of(device: str) -> Iterator[tuple[Ranks, str]]:
    """The processes that `torchrun` started, and the device of this one; one process where it did not.

    NCCL joins GPUs, gloo CPUs. Raises InputError where there are more processes than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE, device
        return
    local = int(os.environ["LOCAL_RANK"])
    on_gpus = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpus and local >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise InputError(f"torchrun: process {local} has no GPU of its own ({there} are there); start {there} a machine")
    if on_gpus:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield Ranks(dist.get_rank(), count), f"cuda:{local}" if on_gpus else "cpu"
    finally:
        dist.destroy_process_group()


def share_statistics(model: nn.Module) -> None:
    """Make every batch norm one of the whole batch: torch's own on GPUs, where it works, else ours."""
    for parent in model.modules():
        for name, norm in parent.named_children():
            if type(norm) is nn.BatchNorm2d:
                on_gpu = norm.weight.device.type == "cuda"
                shared = nn.SyncBatchNorm(norm.num_features) if on_gpu else SharedBatchNorm(norm.num_features)
                shared.load_state_dict(norm.state_dict())
                shared.eps, shared.momentum = norm.eps, norm.momentum
                setattr(parent, name, shared.to(norm.weight.device))


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm with mean and variance over the batches of all processes; torch's SyncBatchNorm runs on GPUs only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        if not self.training:
            return super().forward(input)
        count = torch.tensor(float(input.numel() // input.shape[1] * dist.get_world_size()))
        mean = _summed(input.sum((0, 2, 3))) / count
        centred = input - mean.view(1, -1, 1, 1)
        variance = _summed(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = (variance + self.eps).rsqrt() * self.weight
        return centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class _Sum(torch.autograd.Function):
    """The sum over processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        summed = value.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        summed = gradient.clone()
        dist.all_reduce(summed)
        return summed


def _summed(value: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return summed
