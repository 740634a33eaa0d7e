"""Data-parallel training of one network by several processes (`torchrun`).

The main decision: the processes together compute the same as one process with the full
batch, up to rounding. Gradients are averaged (DistributedDataParallel), and batch statistics are
those of the full batch. The images of a step and their augmentation do not depend on the number of
processes; stochastic depth, dropout and the pairs of mixup and CutMix do. A single process has
world size 1 and does not communicate.
"""

import itertools
import os
import time
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

_COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # a step that waits longer fails the training
# the others wait this long while rank 0 reads images or evaluates on the test split
_RANK_ZERO_TIMEOUT = timedelta(days=2)
# a process that exits closes its connections one after another
_PROBE_SECONDS = 1.0
_PROBE_TAG = 77  # no process sends messages with this tag
_TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class DistributedContext:
    """Rank and world size of this process.

    Args:
        rank: rank of this process, from 0.
        world_size: number of processes that train the network.
        long_timeout_group: process group for waiting while rank 0 works alone; None for a single
            process.
    """

    rank: int = 0
    world_size: int = 1
    long_timeout_group: "dist.ProcessGroup | None" = None

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process is rank 0, which alone writes files and messages."""
        return self.rank == 0

    def on_rank_zero(self, function: Callable[[], object]) -> None:
        """Call `function` in rank 0 only, while the other processes wait.

        Raises:
            SystemExit: in the other processes, if the function raised an error in rank 0, with the
                exit code of that error.
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
        """Return the largest batch size up to `size` that is a multiple of the world size.

        Raises:
            InputError: there are more processes than images in a batch.
        """
        if size < self.world_size:
            raise InputError(
                f"torchrun: {self.world_size} processes are too many for a batch size of {size}; "
                "start fewer processes, or raise recipe.batch_size"
            )
        return size // self.world_size * self.world_size

    def wrap_model(self, model: nn.Module) -> nn.Module:
        """Wrap a model in DistributedDataParallel if there are several processes; the weights are
        shared.
        """
        if self.world_size == 1:
            return model
        device = next(model.parameters()).device
        # harmless: the same memory layout of a 1x1 kernel can have two descriptions by strides
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        with warnings.catch_warnings():
            # the replacement of this argument is missing in older versions of torch
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            # buffers are not broadcast: batch statistics are equal in all processes already
            return DistributedDataParallel(
                model,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,
            )

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """Return the sum of `value` over all processes."""
        if self.world_size == 1:
            return value
        reduced = value.clone()
        dist.all_reduce(reduced)
        return reduced

    def all_reduce_min(self, value: int, *, device: torch.device) -> int:
        """Return the smallest `value` of all processes."""
        if self.world_size == 1:
            return value
        reduced = torch.tensor(value, device=device)
        dist.all_reduce(reduced, op=dist.ReduceOp.MIN)
        return int(reduced.item())

    def any_rank(self, flag: bool, *, device: torch.device) -> bool:
        """Return whether the flag is set in any process; the result is the same in all."""
        if self.world_size == 1:
            return flag
        reduced = torch.tensor(float(flag), device=device)
        dist.all_reduce(reduced, op=dist.ReduceOp.MAX)
        return bool(reduced.item())


SINGLE_PROCESS = DistributedContext()


@contextmanager
def init_distributed(device: str) -> Iterator[tuple[DistributedContext, str]]:
    """Initialize the process group if `torchrun` started several processes.

    The backend is NCCL on GPUs and gloo on CPUs.

    Args:
        device: "auto", "cpu" or "cuda"; without torchrun, any device.

    Yields:
        Rank and world size of this process, and the name of its device.

    Raises:
        InputError: there are more processes than GPUs, or the environment is incomplete.
        StorageError: the connection to another process was lost.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield SINGLE_PROCESS, device
        return
    missing = [name for name in _TORCHRUN_VARIABLES if name not in os.environ]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {world_size} and {missing[0]} is not set; start with torchrun, or "
            "unset WORLD_SIZE"
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
        lost_rank = _find_lost_rank(long_timeout_group)
        if lost_rank is None and not isinstance(error, dist.DistError):
            raise
        lost = "other processes" if lost_rank is None else f"process {lost_rank}"
        raise StorageError(
            f"torchrun: process {dist.get_rank()} lost the connection to {lost}; see the messages "
            "of the other processes"
        ) from None
    # not after an error, when other processes may wait in a collective call that this process has
    # left; torchrun stops them once this process has exited
    dist.destroy_process_group()


def _find_lost_rank(group: "dist.ProcessGroup") -> int | None:
    """Find a process to which the connection is lost; None if all are connected.

    gloo raises a plain RuntimeError for a lost connection, which could be any error. So the
    connections are probed: a receive over a lost one fails at once, and a receive over an intact
    one waits in the background.

    Args:
        group: a gloo group of all processes.
    """
    groups = [group] if dist.get_backend() != "gloo" else [dist.group.WORLD, group]
    peers = [rank for rank in range(dist.get_world_size()) if rank != dist.get_rank()]
    deadline = time.monotonic() + _PROBE_SECONDS
    while time.monotonic() < deadline:
        for probed_group, peer in itertools.product(groups, peers):
            try:
                dist.irecv(torch.empty(1), src=peer, group=probed_group, tag=_PROBE_TAG)
            except RuntimeError:
                return peer
        time.sleep(0.1)
    return None


def _use_gpus(device: str, local_rank: int) -> bool:
    gpu_count = torch.cuda.device_count()
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(
            f"run.device: {device} cannot be used with torchrun, which assigns a GPU to each "
            "process; use auto, cuda or cpu"
        )
    if device == "cpu" or (device == "auto" and not gpu_count):
        return False
    if local_rank >= gpu_count:
        raise InputError(
            f"torchrun: there is no GPU for process {local_rank} ({gpu_count} found); start at "
            f"most {gpu_count} processes on this machine"
        )
    return True


def convert_sync_batchnorm(model: nn.Module) -> None:
    """Replace every batch norm, in place, by one whose statistics are those of the full batch:
    torch's SyncBatchNorm on GPUs, `CpuSyncBatchNorm` on CPUs.
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
    """Batch norm with mean and variance over all processes, for CPUs; torch's SyncBatchNorm needs a
    GPU.

    All processes must pass batches of the same size.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        if not self.training:
            return super().forward(input)
        features = input.float()  # sums in bfloat16 would be too inexact
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
    """Sum over processes with a gradient, which is the sum of the gradients of all processes."""

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
