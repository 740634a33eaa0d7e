"""Which device a training runs on."""

import os

import torch

from experiment.errors import InputError


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one, each worker's own where there are several.

    Raises InputError where it is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("PHINAS_SLOT", "0")) % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"run.device: {name} is not there ({torch.cuda.device_count()} CUDA devices seen); use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("run.device: mps is not there; use auto or cpu")
    return device


def count_slots(name: str) -> int:
    """How many trainings at a time a device is good for: one a GPU, one a core (measured on two cores: two trainings of one
    thread each finish 1.2 to 1.6 times as many images a second as one of two threads)."""
    device = resolve_device(name)
    if device.type == "cuda":
        return torch.cuda.device_count() if name == "auto" else 1
    return (os.cpu_count() or 1) if device.type == "cpu" else 1


def describe_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
