"""Devices of trainings: selection, number of parallel trainings, memory errors, determinism."""

import os

import torch

from phinas.experiment.artifacts.manifest import AutoPrecision
from phinas.experiment.cpu_threads import count_available_cpus
from phinas.experiment.errors import InputError

_NO_ENGINE = "unable to find an engine to execute this computation"  # of cuDNN
_CAPTURE = "captur"  # in the errors of a capture that is ended after an error
_SHARED_MEMORY_FRACTION = 0.95  # the rest is for the contexts of the processes
# On fewer steps, timing cuDNN's algorithms for a new network (1 to 4 s) takes longer than it saves.
_MIN_AUTOTUNED_STEPS = 5_000


def resolve_device(name: str, *, option: str = "run.device") -> torch.device:
    """Return the device with a name.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps". "auto" is a GPU if there is one, and a CPU
            otherwise. With several GPUs, workers are spread over them.
        option: the configuration key or option that has the name, for the error message.

    Raises:
        InputError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device(
                "cuda", int(os.environ.get("PHINAS_WORKER_INDEX", "0")) % torch.cuda.device_count()
            )
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"{option}: {name} is not available ({torch.cuda.device_count()} CUDA devices found); "
            "use auto or cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"{option}: mps is not available; use auto or cpu")
    return device


def count_slots(name: str, *, per_gpu: int = 1) -> int:
    """Return how many trainings run at a time: `per_gpu` on each GPU, one on each
    available CPU core.

    Measured on two cores: two trainings of one thread each train 1.2 to 1.6 times as many images
    per second as one training of two threads.
    """
    device = resolve_device(name)
    if device.type == "cuda":
        return per_gpu * (torch.cuda.device_count() if name == "auto" else 1)
    return count_available_cpus() if device.type == "cpu" else 1


def workers_sharing_gpu(name: str) -> int:
    """Return how many workers of this run share one GPU.

    With the device "auto" the workers are spread over all GPUs; otherwise all use the same one.
    """
    max_workers = int(os.environ.get("PHINAS_NUM_WORKERS", "1"))
    return -(-max_workers // max(1, torch.cuda.device_count())) if name == "auto" else max_workers


def use_device(device: torch.device, *, sharers: int = 1) -> None:
    """Make a GPU the current one of this process: pinned memory opens a context on that one.

    Args:
        device: the device of the trainings; any other than a GPU needs nothing.
        sharers: processes that train on it. Each gets an equal part of the memory, so that none
            takes what the batch of another needs.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if sharers > 1:
            fraction = _SHARED_MEMORY_FRACTION / sharers
            torch.cuda.set_per_process_memory_fraction(fraction, device)


def auto_precision(name: str) -> AutoPrecision:
    """Return what `recipe.precision: auto` means on a device: "bf16" or "fp32".

    Args:
        name: as for `resolve_device`.
    """
    device = resolve_device(name)
    if device.type != "cuda":
        return "fp32"
    with torch.cuda.device(device):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def find_auto_precision(*, device: str) -> dict[str, str]:
    """Return `auto_precision` of a worker's device; the function of a job."""
    return {"precision": auto_precision(device)}


def describe_device(device: torch.device) -> str:
    """Return the name of the GPU, or the type of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means, or may mean, that memory ran out.

    CUDA raises torch.OutOfMemoryError. The allocators of CPU and MPS, cuBLAS and cuDNN raise a
    RuntimeError, which is recognized by its message.
    """
    messages = (
        "can't allocate memory",
        "out of memory",
        "_STATUS_ALLOC_FAILED",
        "ALLOCATION_FAILED",
        _NO_ENGINE,
    )
    error = root_cause(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(message in str(error) for message in messages)
    )


def may_have_another_cause(error: BaseException) -> bool:
    """Return whether an error that `is_out_of_memory` recognizes may mean something else.

    cuDNN finds no engine if none fits the free memory, and also if none supports the operation.
    """
    return _NO_ENGINE in str(root_cause(error))


def root_cause(error: BaseException) -> BaseException:
    """Return the error that ended a capture, which raises a second one at its end; else `error`."""
    while error.__context__ is not None and _CAPTURE in str(error):
        error = error.__context__
    return error


def set_determinism(*, deterministic: bool, steps: int = 0) -> None:
    """Set whether repeated trainings on the same device are bit-identical.

    Call it before the first use of the device. On a CPU, trainings with the same number of threads
    are always bit-identical. On a GPU without determinism, some gradients are summed in varying
    order, and in long trainings cuDNN selects the fastest algorithms by timing them. Accuracies
    then differ at most as much as between seeds.

    Args:
        deterministic: whether they are.
        steps: train steps of the training; with few, no algorithms are timed.
    """
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic and steps >= _MIN_AUTOTUNED_STEPS
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
