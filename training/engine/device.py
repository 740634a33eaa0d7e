"""Which device a training runs on."""

import os

import torch

from phinas.experiment.errors import InputError


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one, each worker's own where there
    are several.

    Raises InputError where it is not there.
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
            f"run.device: {name} is not there ({torch.cuda.device_count()} CUDA devices seen); "
            "use auto or cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("run.device: mps is not there; use auto or cpu")
    return device


def count_slots(name: str, *, per_gpu: int = 1) -> int:
    """How many trainings at a time a device is good for: `per_gpu` a GPU, one a core (measured on
    two cores: two trainings of one thread each finish 1.2 to 1.6 times as many images a second as
    one of two threads)."""
    device = resolve_device(name)
    if device.type == "cuda":
        return per_gpu * (torch.cuda.device_count() if name == "auto" else 1)
    return (os.cpu_count() or 1) if device.type == "cpu" else 1


def workers_sharing_gpu(name: str) -> int:
    """How many workers of this run are at work on this one's GPU: spread over all of them with
    "auto", else all on that one.
    """
    max_workers = int(os.environ.get("PHINAS_NUM_WORKERS", "1"))
    return -(-max_workers // max(1, torch.cuda.device_count())) if name == "auto" else max_workers


def describe_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def is_out_of_memory(error: BaseException) -> bool:
    """torch.OutOfMemoryError is CUDA's; the allocators of CPU and MPS raise a RuntimeError that
    says it in words.
    """
    # the last: of cuBLAS and cuDNN
    messages = (
        "can't allocate memory",
        "out of memory",
        "_STATUS_ALLOC_FAILED",
    )
    error = root_cause(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(message in str(error) for message in messages)
    )


def root_cause(error: BaseException) -> BaseException:
    """A capture that fails may raise once more when it is ended."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def set_determinism(*, deterministic: bool) -> None:
    """Whether trainings of this process give the same bits run to run on one device. To be called
    before its first use.

    On a CPU they do in any case, at one number of threads. On a GPU, without it, cuDNN times its
    algorithms and takes the
    fastest, and some gradients are added in an order that varies: accuracies then differ as between
    seeds, or less."""
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
