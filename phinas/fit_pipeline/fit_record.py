"""What a fit resolves to, and whether a later call asks for the same training."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from phinas.experiment.artifacts.fit import FitRecord
from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.manifest import file_sha256
from phinas.experiment.schema.config import FitSection, flatten_section
from phinas.experiment.schema.option_info import keys_on_resume
from phinas.network_source import load_network
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData


def fixed_settings(config: FitSection) -> dict[str, Any]:
    """The settings that decide the result, by dotted key. The others may change on resume."""
    changeable = keys_on_resume(FitSection, "may change")
    return {
        name: value for name, value in flatten_section(config).items() if name not in changeable
    }


def normalize(record: FitRecord, data: "PreparedData") -> "PreparedData":
    """The images with the mean and standard deviation that the record asks for."""
    normalization = record.normalization
    if normalization is None:
        return data
    return data.model_copy(update={"mean": normalization.mean, "std": normalization.std})


def require_same(record: FitRecord, config: FitSection, fit_dir: FitDir) -> ArchSpec:
    """Check that a call asks for the training of the record.

    Returns:
        The network that `config.spec` names, before it is adapted to the images.

    Raises:
        InputError: A setting differs, or a file that both name has changed.
    """
    before, after = fixed_settings(record.config), fixed_settings(config)
    spec = None
    if config.spec == record.config.spec:
        spec = load_network(config.spec)
        before["network_id"] = record.spec.network_id
        after["network_id"] = _adapted_network_id(record, config, spec)
    if config.weights == record.config.weights:
        before["weights_sha256"] = record.weights_sha256
        after["weights_sha256"] = hash_weights(config)
    differences = _describe_differences(before, after)
    if differences or spec is None:
        raise InputError(
            f"{fit_dir.path}: {differences}; use the same settings to resume, or use a new --out"
        )
    return spec


def _adapted_network_id(record: FitRecord, config: FitSection, spec: ArchSpec) -> str:
    """The network that the spec of `config` gives for the images of the record."""
    spec = replace(
        spec,
        channels=record.spec.channels,
        classes=record.spec.classes,
        resolution=record.spec.resolution,
    )
    # Initial weights may have changed these.
    if config.weights is not None:
        spec = replace(spec, padding=record.spec.padding, bn_eps=record.spec.bn_eps)
    return spec.network_id


def _describe_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name} was {before.get(name)!r} and is now {value!r}"
        for name, value in after.items()
        if before.get(name) != value
    )


def hash_weights(config: FitSection) -> str:
    """The SHA-256 of the file of the initial weights; "" where they are random.

    Raises:
        InputError: The file does not exist, or could not be downloaded.
    """
    from phinas.training.weights.hub_weights import resolve_weights_path

    if config.weights is None:
        return ""
    try:
        return file_sha256(resolve_weights_path(config.weights))
    except FileNotFoundError:
        raise InputError(f"weights: {config.weights}: does not exist") from None
    except IsADirectoryError:
        raise InputError(
            f"weights: {config.weights}: is a directory; name the file in it"
        ) from None
