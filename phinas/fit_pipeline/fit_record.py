"""The record of a fit in its `fit.yaml`: the configuration, and the network that it resolves to."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.manifest import file_sha256, version
from phinas.experiment.run_dir import write_atomic
from phinas.experiment.schema.config import FitSection, Recipe, flatten_section, validate_section
from phinas.experiment.schema.fit import CHANGEABLE_KEYS
from phinas.space.loading import load_spec
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml, read_yaml

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData


@dataclass(frozen=True)
class FitRecord:
    """A resolved training.

    Attributes:
        batch_size: Images a step, of all processes together.
        weights_sha256: The hash of the file of the initial weights, or "".
        classifier: "loaded" from that file, or "reinitialized".
    """

    config: FitSection
    spec: ArchSpec
    batch_size: int
    weights_sha256: str
    classifier: str

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe.model_copy(update={"batch_size": self.batch_size})

    def mirrors_images(self, data: "PreparedData") -> bool:
        """Whether training flips half of the images."""
        return (
            data.allow_flip
            if self.config.data.horizontal_flip == "auto"
            else self.config.data.horizontal_flip
        )

    def normalize(self, data: "PreparedData") -> "PreparedData":
        """The images with the mean and deviation of the normalization."""
        if self.config.mean is None or self.config.std is None:
            return data
        return replace(data, mean=tuple(self.config.mean), std=tuple(self.config.std))

    @classmethod
    def read(cls, fit_dir: FitDir) -> "FitRecord":
        """What `fit.yaml` says. Raises InputError where that is no such file, or a newer phinas'
        one.
        """
        try:
            data = read_yaml(fit_dir.record_file)
            config = validate_section(
                FitSection, data["config"], source=f"{fit_dir.record_file}: config"
            )
            classifier_fields = (str(data["weights_sha256"]), str(data["classifier"]))
            return cls(
                config,
                ArchSpec.from_dict(data["spec"]),
                int(data["batch_size"]),
                *classifier_fields,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{fit_dir.record_file}: is not what this phinas writes ({error}); use a new --out"
            ) from None

    def write(self, fit_dir: FitDir) -> None:
        content = {
            "phinas": version(),
            "config": self.config.model_dump(),
            "batch_size": self.batch_size,
        }
        network_fields = {
            "weights_sha256": self.weights_sha256,
            "classifier": self.classifier,
            "spec": self.spec.to_dict(),
        }
        write_atomic(fit_dir.record_file, dump_yaml(content | network_fields))

    def require_same(self, config: FitSection, fit_dir: FitDir) -> None:
        """Raises InputError where the configuration or the content of a file that it names has
        changed.
        """
        before, after = flatten_section(self.config), flatten_section(config)
        if config.spec == self.config.spec:
            before |= {"spec_id": self.spec.spec_id}
            after |= {"spec_id": replace(load_spec(config.spec), **self._adapted_fields()).spec_id}
        if config.weights == self.config.weights:
            before, after = (
                before | {"weights_sha256": self.weights_sha256},
                after | {"weights_sha256": hash_weights(config)},
            )
        message = "; ".join(
            f"{name} was {before.get(name)!r} and is now {after[name]!r}"
            for name in after
            if name not in CHANGEABLE_KEYS and before.get(name) != after[name]
        )
        if message:
            raise InputError(
                f"{fit_dir.path}: {message}; ask as before to carry it on, or use a new --out"
            )

    def _adapted_fields(self) -> dict[str, Any]:
        """The fields of the network that depend on the images."""
        return {name: getattr(self.spec, name) for name in ("channels", "classes", "resolution")}


def hash_weights(config: FitSection) -> str:
    from phinas.training.data.sources.hf_hub import resolve_weights_path

    if config.weights is None:
        return ""
    try:
        return file_sha256(resolve_weights_path(config.weights))
    except FileNotFoundError:
        raise InputError(f"weights: {config.weights}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(
            f"weights: {config.weights}: is a directory; name the safetensors file in it"
        ) from None
