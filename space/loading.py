"""Specs by name or from a YAML file."""

from collections.abc import Mapping
from pathlib import Path

from phinas.space.interchange.library_models import library_spec
from phinas.space.presets import PRESETS, preset, suggest_preset
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import read_yaml


def path_exists(path: Path) -> bool:
    """Path.exists, but False for an impossible name."""
    try:
        return path.exists()
    except OSError:  # the name is too long for the file system
        return False


def load_spec(source: str) -> ArchSpec:
    """Load a spec.

    Args:
        source: the name of a published network, a network of timm or torchvision (`timm:NAME`), or
            a spec file, which may hold the spec under the key `spec`.

    Raises:
        SpecError: the network is unknown, or the file does not describe one; names the file.
        YamlError: the file is not YAML; names the file.
    """
    if source in PRESETS:
        return preset(source)
    if source.startswith(("timm:", "torchvision:")):
        return library_spec(source)
    path = Path(source).expanduser()
    if not path_exists(path):
        raise SpecError(
            f"spec: {source!r} is neither a file nor a preset; {suggest_preset(source)}"
        )
    data = read_yaml(path)
    try:
        return ArchSpec.from_dict(
            data["spec"] if isinstance(data, Mapping) and "spec" in data else data
        )
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
