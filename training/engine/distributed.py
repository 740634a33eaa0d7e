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

# a process that others wait for in a step is given up after so long
_COLLECTIVE_TIMEOUT = timedelta(minutes=10)
# while the first one reads images, or measures on the test split
_RANK_ZERO_TIMEOUT = timedelta(days=2)
_TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class DistributedContext:
    """rank: of this process, from 0; world_size: of processes; long_timeout_group: for waiting
    while rank 0 works alone.
    """

    rank: int = 0
    world_size: int = 1
    long_timeout_group: "dist.ProcessGroup | None" = None

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def on_rank_zero(self, function: Callable[[], object]) -> None:
        """Have the first process alone call `function`, while the others wait. Where it raises,
        they end with its exit code.
        """
        if self.world_size == 1:
            function()
            return
        code = torch.zeros((), dtype=torch.int64)
        try:
            if self.is_rank_zero:
                function()
        except BaseException as error:
            code.fill_(getattr(error, "exit_code", 1))
            raise
        finally:
            dist.broadcast(code, 0, group=self.long_timeout_group)
        if code:
            raise SystemExit(int(code))

    def global_batch_size(self, size: int) -> int:
        """The largest batch of at most `size` images that can be shared evenly. Raises InputError
        where there is none.
        """
        if size < self.world_size:
            raise InputError(
                f"torchrun: {self.world_size} processes can't share a batch of {size}; start "
                "fewer, or "
                "raise the batch"
            )
        return size // self.world_size * self.world_size

    def wrap_model(self, model: nn.Module) -> nn.Module:
        """What to call in place of `model`, which keeps the weights."""
        if self.world_size == 1:
            return model
        device = next(model.parameters()).device
        # Of 1x1 kernels, whose strides have two names for one order in memory.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        with warnings.catch_warnings():
            # what is to replace it is too new
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            # Batch statistics are alike everywhere already.
            return DistributedDataParallel(
                model,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,
            )

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum over processes."""
        if self.world_size == 1:
            return value
        reduced = value.clone()
        dist.all_reduce(reduced)
        return reduced

    def all_reduce_min(self, value: int, *, device: torch.device) -> int:
        """The smallest of all processes' values."""
        if self.world_size == 1:
            return value
        reduced = torch.tensor(value, device=device)
        dist.all_reduce(reduced, op=dist.ReduceOp.MIN)
        return int(reduced.item())

    def any_rank(self, flag: bool, *, device: torch.device) -> bool:
        """Whether it is so in any process: all get the same answer."""
        if self.world_size == 1:
            return flag
        reduced = torch.tensor(float(flag), device=device)
        dist.all_reduce(reduced, op=dist.ReduceOp.MAX)
        return bool(reduced.item())


SINGLE_PROCESS = DistributedContext()


@contextmanager
def init_distributed(device: str) -> Iterator[tuple[DistributedContext, str]]:
    """The processes that `torchrun` started, and the device of this one; one process where it did
    not.

    NCCL joins GPUs, gloo CPUs. Raises InputError where there are more processes than GPUs.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield SINGLE_PROCESS, device
        return
    missing = [name for name in _TORCHRUN_VARIABLES if name not in os.environ]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {world_size} and {missing[0]} is not set; start with torchrun, or "
            "unset "
            "WORLD_SIZE"
        )
    local_rank = int(os.environ["LOCAL_RANK"])
    use_gpus = _use_gpus(device, local_rank)
    if use_gpus:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if use_gpus else "gloo", timeout=_COLLECTIVE_TIMEOUT)
    long_timeout_group = dist.new_group(backend="gloo", timeout=_RANK_ZERO_TIMEOUT)
    try:
        yield (
            DistributedContext(dist.get_rank(), world_size, long_timeout_group),
            f"cuda:{local_rank}" if use_gpus else "cpu",
        )
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        if "gloo" not in reason and not isinstance(error, dist.DistError):
            raise
        reason = re.sub(r"^\[\S+\] ", "", reason).partition(". ")[0]
        raise StorageError(
            f"torchrun: process {dist.get_rank()} lost the others ({reason}); see what they said"
        ) from None
    # Not after an error: the others may wait in what this one left, and torchrun ends them when it
    # has ended.
    dist.destroy_process_group()


def _use_gpus(device: str, local_rank: int) -> bool:
    gpu_count = torch.cuda.device_count()
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(
            f"run.device: {device} with torchrun, which gives each process its own GPU; use auto, "
            "cuda or cpu"
        )
    if device == "cpu" or (device == "auto" and not gpu_count):
        return False
    if local_rank >= gpu_count:
        raise InputError(
            f"torchrun: process {local_rank} has no GPU of its own ({gpu_count} are there); start "
            f"{gpu_count} "
            "a machine"
        )
    return True


def convert_sync_batchnorm(model: nn.Module) -> None:
    """Make every batch norm one of the whole batch: torch's own on GPUs, where it works, else
    ours.
    """
    for parent in model.modules():
        for name, norm in parent.named_children():
            if type(norm) is nn.BatchNorm2d:
                on_gpu = norm.weight.device.type == "cuda"
                sync_norm = (
                    nn.SyncBatchNorm(norm.num_features)
                    if on_gpu
                    else CpuSyncBatchNorm(norm.num_features)
                )
                sync_norm.load_state_dict(norm.state_dict())
                sync_norm.eps, sync_norm.momentum = norm.eps, norm.momentum
                sync_norm.train(norm.training).requires_grad_(norm.weight.requires_grad)
                setattr(parent, name, sync_norm.to(norm.weight.device))


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm with mean and variance over the batches of all processes, which are of one size;
    torch's SyncBatchNorm runs on GPUs only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        if not self.training:
            return super().forward(input)
        features = input.float()  # sums of bfloat16 would be too coarse
        count = input.numel() // input.shape[1] * dist.get_world_size()
        mean = _all_reduce_sum(features.sum((0, 2, 3))) / count
        centered = features - mean.view(1, -1, 1, 1)
        variance = _all_reduce_sum(centered.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centered * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)


class _AllReduceSum(torch.autograd.Function):
    """The sum over processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        reduced = value.clone()
        dist.all_reduce(reduced)
        return reduced

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        reduced = gradient.clone()
        dist.all_reduce(reduced)
        return reduced


def _all_reduce_sum(value: Tensor) -> Tensor:
    reduced: Tensor = _AllReduceSum.apply(value)  # type: ignore[no-untyped-call]
    return reduced
