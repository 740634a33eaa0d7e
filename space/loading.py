"""Specs by name or from a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phinas.space.interchange.library_models import LIBRARY_MODELS, library_name, library_spec
from phinas.space.presets import PRESETS, preset, suggest_preset
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import read_yaml

# The versions of the files of phinas that hold a network under the key `spec`. A reader accepts
# this version only.
SPEC_FILE_VERSIONS = {
    "phinas/baseline": 1,
    "phinas/family-member": 1,
    "phinas/fit": 1,
    "phinas/trained-network": 1,
}
# Keys of a run's configuration, which no network has.
_CONFIG_SECTIONS = {"search", "scaling", "validation", "run", "data"}


def path_exists(path: Path) -> bool:
    """Path.exists, but False for an impossible name."""
    try:
        return path.exists()
    except OSError:  # the name is too long for the file system
        return False


def load_spec(source: str, *, field: str = "spec") -> ArchSpec:
    """Load a spec.

    Args:
        source: the name of a published network, a network of timm or torchvision (`timm:NAME`, or
            as timm writes it with the tag of its weights, NAME.TAG), or a spec file, which may hold
            the spec under the key `spec`.
        field: what error messages call the argument or configuration key that has the source.

    Raises:
        SpecError: the network is unknown, or the file does not describe one; names the file.
        YamlError: the file is not YAML; names the file.
    """
    if source in PRESETS:
        return preset(source)
    if source.startswith(("timm:", "torchvision:")):
        return library_spec(source, field=field)
    path = Path(source).expanduser()
    if not path_exists(path):
        name = library_name(source)
        if name != source:
            return library_spec(name, field=field)
        libraries = [key for key in LIBRARY_MODELS if key.partition(":")[2] == source]
        hint = f"did you mean {libraries[0]!r}?" if libraries else suggest_preset(source)
        raise SpecError(f"{field}: {source!r} is neither a file nor a preset; {hint}")
    data = read_yaml(path)
    if isinstance(data, Mapping) and _CONFIG_SECTIONS & data.keys() and "spec" not in data:
        raise SpecError(
            f"{field}: {source!r} is the configuration of a run, not a network; name a preset, a "
            "spec file, or RUN:NAME"
        )
    try:
        if not isinstance(data, Mapping) or "spec" not in data:
            return ArchSpec.from_dict(data)
        _check_version(data)
        return ArchSpec.from_dict(data["spec"])
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _check_version(data: Mapping[Any, Any]) -> None:
    """Check the header of a file of phinas. A file that a user wrote has none."""
    supported = SPEC_FILE_VERSIONS.get(str(data.get("format")))
    version = data.get("version")
    if supported is None or version == supported:
        return
    if isinstance(version, int) and version > supported:
        raise SpecError(
            f"format version {version} is newer than this phinas reads ({supported}); upgrade "
            "phinas"
        )
    raise SpecError(f"version: {version!r} is not the format version {supported}; restore the file")
