"""Weights files by name: a path, or a file of the Hugging Face Hub with its configuration."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phinas.experiment.errors import InputError
from phinas.experiment.optional_library import import_library
from phinas.training.data.sources import SOURCES

PREFIX = SOURCES["hf"].prefix
_CONFIG = "config.json"
# File names in timm's repositories and in older ones.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class PretrainedConfig:
    """The configuration that a repository of timm has with its weights (`config.json`).

    Attributes:
        architecture: the name of the network in timm, or "".
        mean: mean of each channel, or ().
        std: standard deviation of each channel, or ().
    """

    architecture: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class WeightsSource:
    """Where weights are.

    Attributes:
        name: what the user wrote.
        path: the file on this machine.
        repository: the repository of the Hub, or "".
        config: the configuration beside the file.
    """

    name: str
    path: Path
    repository: str = ""
    config: PretrainedConfig = field(default_factory=PretrainedConfig)


def resolve_weights_path(name: str) -> Path:
    """The path of a weights file. A file of the Hub is downloaded unless it is cached.

    Args:
        name: `hf:OWNER/NAME[@REVISION][:FILE]`, or the path of a file or of a folder with
            model.safetensors or pytorch_model.bin. It is not checked.

    Raises:
        InputError: The extra `hf` is not installed, or the file could not be downloaded.
    """
    return find_weights(name).path


def find_weights(name: str) -> WeightsSource:
    """A weights file and the configuration beside it, downloaded unless it is cached.

    Args:
        name: `hf:OWNER/NAME[@REVISION][:FILE]`, or the path of a file or of a folder with
            model.safetensors or pytorch_model.bin. It is not checked.

    Raises:
        InputError: The extra `hf` is not installed, or the file could not be downloaded.
    """
    if not name.startswith(PREFIX):
        path = _file_in(Path(name).expanduser())
        return WeightsSource(name, path, config=_read_config(path.parent / _CONFIG))
    huggingface_hub = import_library(
        "huggingface_hub", attribute="hf_hub_download", needed_by=f"weights: {name}", extra="hf"
    )
    repository_and_revision, _, file = name.removeprefix(PREFIX).partition(":")
    repository, _, revision = repository_and_revision.partition("@")

    def download(file: str) -> Path:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision or None))

    errors: list[Exception] = []
    for file_name in (file,) if file else _WEIGHTS:
        try:
            path = download(file_name)
        except Exception as error:  # The library raises many kinds of network and Hub errors.
            errors.append(error)
            continue
        try:
            config = _read_config(download(_CONFIG))
        except Exception:  # A repository may have no configuration.
            config = PretrainedConfig()
        return WeightsSource(name, path, repository, config)
    reason = " ".join(str(errors[0]).split())[:200]
    raise InputError(
        f"weights: {name} could not be downloaded ({type(errors[0]).__name__}: {reason}); check "
        "the name and the network connection"
    )


def _file_in(path: Path) -> Path:
    """The weights file of a folder as timm and the Hub have it; other paths unchanged."""
    return next((path / name for name in _WEIGHTS if (path / name).is_file()), path)


def _read_config(path: Path) -> PretrainedConfig:
    """The configuration of timm in a file; an empty one if the file holds something else."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return PretrainedConfig()
    if not isinstance(content, Mapping):
        return PretrainedConfig()
    settings = content.get("pretrained_cfg", content)
    settings = settings if isinstance(settings, Mapping) else {}
    mean, std = _numbers(settings.get("mean")), _numbers(settings.get("std"))
    if len(mean) != len(std) or not all(value > 0 for value in std):
        mean = std = ()
    architecture = content.get("architecture")
    return PretrainedConfig(architecture if isinstance(architecture, str) else "", mean, std)


def _numbers(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list | tuple):
        return ()
    if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values):
        return ()
    return tuple(map(float, values))
