"""Networks by name or from a YAML file."""

from collections.abc import Mapping
from pathlib import Path

from phinas.space.interchange.library_models import library_spec
from phinas.space.presets import PRESETS, preset, suggest_preset
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import read_yaml


def path_exists(path: Path) -> bool:
    """Path.exists, False where the name itself is impossible."""
    try:
        return path.exists()
    except OSError:  # a name too long for the file system is no file either
        return False


def load_spec(source: str) -> ArchSpec:
    """A published network by name, one of timm's or torchvision's (`timm:NAME`), or a spec file.

    The file may also hold the spec under the key `spec`. Raises SpecError or YamlError, naming the
    file.
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
