"""Several processes that train one network together (`torchrun`), each on its part of every batch.

The one decision to know: together they do what one process would do with the whole batch, up to
rounding: gradients are averaged (DistributedDataParallel), batch statistics are those of the whole
batch, and which images a step sees, and how each is augmented, does not depend on how many
processes there are. Only dropped paths, dropout and the partners that mixup and cutmix draw from a
process's own part do. One process is the case of one rank, without any of it.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from phinas.experiment.errors import InputError, StorageError

_SILENT = timedelta(
    minutes=10
)  # a process that others wait for in a step is given up after so long
_PATIENT = timedelta(days=2)  # while the first one reads images, or measures on the test split
_TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Ranks:
    """rank: of this process, from 0; count: of processes; patient: those that wait for the first
    one's own work.
    """

    rank: int = 0
    count: int = 1
    patient: "dist.ProcessGroup | None" = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def led(self, work: Callable[[], object]) -> None:
        """Have the first process alone do `work`, while the others wait. Where it raises, they end
        with its exit code.
        """
        if self.count == 1:
            work()
            return
        code = torch.zeros((), dtype=torch.int64)
        try:
            if self.leads:
                work()
        except BaseException as error:
            code.fill_(getattr(error, "exit_code", 1))
            raise
        finally:
            dist.broadcast(code, 0, group=self.patient)
        if code:
            raise SystemExit(int(code))

    def batch(self, size: int) -> int:
        """The largest batch of at most `size` images that can be shared evenly. Raises InputError
        where there is none.
        """
        if size < self.count:
            raise InputError(
                f"torchrun: {self.count} processes can't share a batch of {size}; start fewer, or "
                "raise the batch"
            )
        return size // self.count * self.count

    def joined(self, model: nn.Module) -> nn.Module:
        """What to call in place of `model`, which keeps the weights."""
        if self.count == 1:
            return model
        device = next(model.parameters()).device
        # Of 1x1 kernels, whose strides have two names for one order in memory.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="`broadcast_buffers` is deprecated"
            )  # what is to replace it is too new
            # Batch statistics are alike everywhere already.
            return DistributedDataParallel(
                model,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,
            )

    def sum(self, value: Tensor) -> Tensor:
        """The sum over processes."""
        if self.count == 1:
            return value
        summed = value.clone()
        dist.all_reduce(summed)
        return summed

    def least(self, value: int, *, device: torch.device) -> int:
        """The smallest of all processes' values."""
        if self.count == 1:
            return value
        told = torch.tensor(value, device=device)
        dist.all_reduce(told, op=dist.ReduceOp.MIN)
        return int(told.item())

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
    """The processes that `torchrun` started, and the device of this one; one process where it did
    not.

    NCCL joins GPUs, gloo CPUs. Raises InputError where there are more processes than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE, device
        return
    missing = [name for name in _TORCHRUN if name not in os.environ]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {count} and {missing[0]} is not set; start with torchrun, or unset "
            "WORLD_SIZE"
        )
    local = int(os.environ["LOCAL_RANK"])
    on_gpus = _on_gpus(device, local)
    if on_gpus:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpus else "gloo", timeout=_SILENT)
    patient = dist.new_group(backend="gloo", timeout=_PATIENT)
    try:
        yield Ranks(dist.get_rank(), count, patient), f"cuda:{local}" if on_gpus else "cpu"
    except RuntimeError as error:
        told = str(error).partition("\n")[0]
        if "gloo" not in told and not isinstance(error, dist.DistError):
            raise
        told = re.sub(r"^\[\S+\] ", "", told).partition(". ")[0]
        raise StorageError(
            f"torchrun: process {dist.get_rank()} lost the others ({told}); see what they said"
        ) from None
    # Not after an error: the others may wait in what this one left, and torchrun ends them when it
    # has ended.
    dist.destroy_process_group()


def _on_gpus(device: str, local: int) -> bool:
    there = torch.cuda.device_count()
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(
            f"run.device: {device} with torchrun, which gives each process its own GPU; use auto, "
            "cuda or cpu"
        )
    if device == "cpu" or (device == "auto" and not there):
        return False
    if local >= there:
        raise InputError(
            f"torchrun: process {local} has no GPU of its own ({there} are there); start {there} "
            "a machine"
        )
    return True


def share_statistics(model: nn.Module) -> None:
    """Make every batch norm one of the whole batch: torch's own on GPUs, where it works, else
    ours.
    """
    for parent in model.modules():
        for name, norm in parent.named_children():
            if type(norm) is nn.BatchNorm2d:
                on_gpu = norm.weight.device.type == "cuda"
                shared = (
                    nn.SyncBatchNorm(norm.num_features)
                    if on_gpu
                    else SharedBatchNorm(norm.num_features)
                )
                shared.load_state_dict(norm.state_dict())
                shared.eps, shared.momentum = norm.eps, norm.momentum
                shared.train(norm.training).requires_grad_(norm.weight.requires_grad)
                setattr(parent, name, shared.to(norm.weight.device))


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm with mean and variance over the batches of all processes, which are of one size;
    torch's SyncBatchNorm runs on GPUs only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        if not self.training:
            return super().forward(input)
        features = input.float()  # sums of bfloat16 would be too coarse
        count = input.numel() // input.shape[1] * dist.get_world_size()
        mean = _summed(features.sum((0, 2, 3))) / count
        centred = features - mean.view(1, -1, 1, 1)
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
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)


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
