"""`phinas doctor`: what this installation and machine have, and what is missing."""

import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from phinas.api.arguments import checked_arguments
from phinas.experiment.cpu_threads import count_available_cpus
from phinas.experiment.manifest import describe_machine
from phinas.experiment.versions import installed_version, version

# What the extras that a user may want are for.
_PURPOSES = {
    "parquet": "images in Parquet files",
    "hf": "data sets of the Hugging Face hub",
    "onnx": "export to ONNX, and latencies with ONNX Runtime",
    "postgres": "the record of trials in PostgreSQL",
    "ray": "trainings on a Ray cluster",
    "peers": "networks of timm and torchvision",
}
_MIN_FREE_DISK = 2e9  # bytes
_MIN_MEMORY = 4e9  # bytes
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - its size, nothing is written
_MIN_SHARED_MEMORY = 256e6  # bytes; Docker's default is 64 MB


@dataclass(frozen=True)
class Device:
    """A device that trainings can use.

    Attributes:
        name: As for `--device`.
        description: Its model.
        memory_bytes: Its memory; None for a CPU, which uses the main memory, and if unknown.
    """

    name: str
    description: str
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Extra:
    """An optional part of phinas.

    Attributes:
        name: As in `pip install "phinas[NAME]"`.
        purpose: What it is for.
        missing: Its packages that are not installed, or too old, with what is required.
    """

    name: str
    purpose: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What an installation and a machine have.

    Attributes:
        versions: Of phinas, Python and the main packages; None for one that is not installed.
        devices: At least the CPU.
        cores: CPU cores that this process may use.
        memory_bytes: Main memory; 0 if unknown.
        free_disk_bytes: By directory: the current one, and those for images and temporary files.
        extras: The optional parts.
        problems: What is wrong, each with its remedy.
    """

    versions: dict[str, str | None]
    devices: tuple[Device, ...]
    cores: int
    memory_bytes: int
    free_disk_bytes: dict[str, int]
    extras: tuple[Extra, ...]
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as plain data for JSON."""
        return asdict(self)


@checked_arguments()
def doctor() -> Diagnosis:
    """What this installation and machine have, and what is missing.

    It has no arguments, and raises no error.

    Returns:
        The versions, devices, memory, disk and extras, and the problems with their remedies.

    Examples:
        >>> phinas.doctor().problems
        ()
    """
    machine = describe_machine()
    extras = tuple(_read_extras())
    devices = tuple(_find_devices(machine.processor))
    free_disk_bytes = {
        str(directory): shutil.disk_usage(directory).free for directory in _used_directories()
    }
    problems = [
        *_missing_requirements(),
        *_device_problems(devices),
        *_space_problems(machine.memory_bytes, free_disk_bytes),
        *_library_problems(),
    ]
    return Diagnosis(
        {"phinas": version(), "python": machine.python, **machine.packages},
        devices,
        count_available_cpus(),
        machine.memory_bytes,
        free_disk_bytes,
        extras,
        tuple(problems),
    )


def _requirements() -> Iterator[Requirement]:
    yield from map(Requirement, importlib.metadata.requires("phinas") or ())


def _is_met(requirement: Requirement) -> bool:
    installed = installed_version(requirement.name)
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)


def _read_extras() -> Iterator[Extra]:
    requirements = list(_requirements())
    for name, purpose in _PURPOSES.items():
        missing = [
            f"{requirement.name}{requirement.specifier}"
            for requirement in requirements
            if requirement.marker is not None
            and requirement.marker.evaluate({"extra": name})
            and not requirement.marker.evaluate({"extra": ""})
            and not _is_met(requirement)
        ]
        yield Extra(name, purpose, tuple(missing))


def _missing_requirements() -> Iterator[str]:
    for requirement in _requirements():
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not _is_met(requirement):
            installed = installed_version(requirement.name) or "none"
            needed = f"{requirement.name}{requirement.specifier}"
            yield f'{needed} is required, installed is {installed}; pip install "{needed}"'


def _find_devices(processor: str) -> Iterator[Device]:
    import torch

    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Device(f"cuda:{index}", properties.name, properties.total_memory)
    if torch.backends.mps.is_available():
        yield Device("mps", "Apple GPU")
    yield Device("cpu", processor)


def _used_directories() -> list[Path]:
    """The current directory, and those of the image cache and of temporary files."""
    from phinas.space.cache_directory import cache_root

    cache = cache_root()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    return list(dict.fromkeys((Path.cwd(), existing, Path(tempfile.gettempdir()))))


def _device_problems(devices: tuple[Device, ...]) -> Iterator[str]:
    import torch

    has_gpu = any(device.name.startswith("cuda") for device in devices)
    if shutil.which("nvidia-smi") and not has_gpu:
        remedy = "install a torch with CUDA (https://pytorch.org/get-started)"
        if torch.version.cuda:
            remedy = f"torch is built for CUDA {torch.version.cuda}: check the driver's version"
        yield f"the machine has an NVIDIA driver, but torch finds no GPU; {remedy}"
    if _SHARED_MEMORY.exists():
        size = shutil.disk_usage(_SHARED_MEMORY).total
        if size < _MIN_SHARED_MEMORY:
            yield (
                f"{_SHARED_MEMORY} has {size / 1e6:.0f} MB, and Ray needs more; start the "
                "container with --shm-size=1g"
            )


def _space_problems(memory_bytes: int, free_disk_bytes: dict[str, int]) -> Iterator[str]:
    if 0 < memory_bytes < _MIN_MEMORY:
        yield (
            f"the machine has {memory_bytes / 1e9:.1f} GB of memory; use --workers 1 and few images"
        )
    for directory, free in free_disk_bytes.items():
        if free < _MIN_FREE_DISK:
            yield f"{directory} has {free / 1e9:.1f} GB of free space; free some"
        if not os.access(directory, os.W_OK):
            yield f"{directory} cannot be written; correct its permissions"


def _library_problems() -> Iterator[str]:
    from phinas.space.interchange.torchvision_import import import_with_torchvision

    for name in ("torchvision", "timm"):
        if installed_version(name) is None:
            continue
        try:
            import_with_torchvision(name)
        except (ImportError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            yield f"{name} cannot be imported beside torch ({reason}); install the pair that fits"


def as_text(result: Diagnosis, *, width: int | None = None) -> str:
    """The diagnosis as text.

    Args:
        result: The result of `doctor`.
        width: Maximum number of characters in a line; None for no limit.
    """
    from phinas.terminal.text_table import Column, format_table

    versions = ", ".join(
        f"{name} {number}" for name, number in result.versions.items() if number is not None
    )
    device_rows = [
        [
            device.name,
            device.description,
            "" if device.memory_bytes is None else f"{device.memory_bytes / 1e9:.1f} GB",
        ]
        for device in result.devices
    ]
    disk_rows = [
        [directory, f"{free / 1e9:.1f} GB"] for directory, free in result.free_disk_bytes.items()
    ]
    extra_rows = [
        [
            extra.name,
            extra.purpose,
            f'pip install "phinas[{extra.name}]"' if extra.missing else "installed",
        ]
        for extra in result.extras
    ]
    tables = (
        (("device", "model", "memory"), device_rows),
        (("directory", "free"), disk_rows),
        (("extra", "for", "state"), extra_rows),
    )
    lines = [versions, f"{result.cores} CPU cores, {result.memory_bytes / 1e9:.1f} GB of memory"]
    for titles, rows in tables:
        columns = [Column(title, "left", wrap=title in ("model", "for")) for title in titles]
        lines += ["", *format_table(columns, rows, width=width)]
    lines += ["", *(f"problem: {problem}" for problem in result.problems or ())]
    if not result.problems:
        lines.append("no problem found")
    return "\n".join(lines)
