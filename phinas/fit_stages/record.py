"""What a fit is, as its `fit.yaml` holds it: what was asked, resolved, and the network that it came
to.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from phinas.experiment.errors import InputError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.manifest import file_sha256, version
from phinas.experiment.run_dir import write_atomic
from phinas.experiment.schema.config import FitSection, Recipe, checked, flatten
from phinas.experiment.schema.fit import FREE
from phinas.space.loading import load_spec
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import dump_yaml, read_yaml

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData


@dataclass(frozen=True)
class Fit:
    """A training that is resolved. batch: images a step, of all processes together; weights_sha256:
    of the file that it begins with, or ""; classifier: "loaded" from there, or "drawn"."""

    config: FitSection
    spec: ArchSpec
    batch: int
    weights_sha256: str
    classifier: str

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe.model_copy(update={"batch": self.batch})

    def mirrors(self, data: "PreparedData") -> bool:
        """Whether half of the images are seen mirrored."""
        return data.mirror if self.config.data.flip == "auto" else self.config.data.flip

    def normalised(self, data: "PreparedData") -> "PreparedData":
        """The images with the mean and deviation that they are to be normalised by."""
        if self.config.mean is None or self.config.std is None:
            return data
        return replace(data, mean=tuple(self.config.mean), std=tuple(self.config.std))

    @classmethod
    def read(cls, place: FitDir) -> "Fit":
        """What `fit.yaml` says. Raises InputError where that is no such file, or a newer phinas'
        one.
        """
        try:
            data = read_yaml(place.record)
            config = checked(FitSection, data["asked"], where=f"{place.record}: asked")
            told = (str(data["weights_sha256"]), str(data["classifier"]))
            return cls(config, ArchSpec.from_dict(data["spec"]), int(data["batch"]), *told)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{place.record}: is not what this phinas writes ({error}); use a new --out"
            ) from None

    def write(self, place: FitDir) -> None:
        facts = {"phinas": version(), "asked": self.config.model_dump(), "batch": self.batch}
        rest = {
            "weights_sha256": self.weights_sha256,
            "classifier": self.classifier,
            "spec": self.spec.to_dict(),
        }
        write_atomic(place.record, dump_yaml(facts | rest))

    def require_same(self, asked: FitSection, place: FitDir) -> None:
        """Raises InputError with what is asked otherwise now; files that it names must hold what
        they held.
        """
        before, after = flatten(self.config), flatten(asked)
        if asked.spec == self.config.spec:
            before |= {"spec_id": self.spec.spec_id}
            after |= {"spec_id": replace(load_spec(asked.spec), **self._fitted()).spec_id}
        if asked.weights == self.config.weights:
            before, after = (
                before | {"weights_sha256": self.weights_sha256},
                after | {"weights_sha256": sha256_of_weights(asked)},
            )
        told = "; ".join(
            f"{name} was {before.get(name)!r} and is now {after[name]!r}"
            for name in after
            if name not in FREE and before.get(name) != after[name]
        )
        if told:
            raise InputError(
                f"{place.path}: {told}; ask as before to carry it on, or use a new --out"
            )

    def _fitted(self) -> dict[str, Any]:
        """The fields of the network that its images decided."""
        return {name: getattr(self.spec, name) for name in ("channels", "classes", "resolution")}


def sha256_of_weights(config: FitSection) -> str:
    from phinas.training.data.sources.hf_hub import weights_file

    if config.weights is None:
        return ""
    try:
        return file_sha256(weights_file(config.weights))
    except FileNotFoundError:
        raise InputError(f"weights: {config.weights}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(
            f"weights: {config.weights}: is a directory; name the safetensors file in it"
        ) from None
