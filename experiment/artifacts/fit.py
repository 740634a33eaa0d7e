"""The files of a fit: `fit.yaml`, `spec.yaml` and `measurement.json`."""

from typing import ClassVar, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Record
from phinas.experiment.artifacts.learning_problem import LearningProblem
from phinas.experiment.artifacts.manifest import Count, Machine
from phinas.experiment.artifacts.measurement_field import MeasurementField
from phinas.experiment.artifacts.network_field import SpecField
from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.experiment.artifacts.pretrained_reference import PretrainedReference
from phinas.experiment.schema.fit import FitSection
from phinas.experiment.schema.recipe import Recipe
from phinas.space.loading import SPEC_FILE_VERSIONS

Classifier = Literal["loaded", "reinitialized"]


class InputNormalization(Record):
    """The normalization of the input, where it is not that of the training images."""

    mean: tuple[float, ...] = Field(description="Mean of each channel, in 0 to 1")
    std: tuple[float, ...] = Field(description="Standard deviation of each channel, in 0 to 1")
    source: str = Field(description="What determines it, such as the config.json of the weights")


class FitRecord(Artifact):
    """`fit.yaml`: the configuration of a training, and the network that it resolves to."""

    FORMAT: ClassVar[str] = "phinas/fit"
    VERSION: ClassVar[int] = SPEC_FILE_VERSIONS[FORMAT]
    ADVICE: ClassVar[str] = "use a new --out"

    phinas: str = Field(description="Version of phinas that started the training")
    config: FitSection
    batch_size: Count = Field(description="Images per step, of all processes together")
    weights_sha256: str = Field(description="Hash of the file of the initial weights, or empty")
    classifier: Classifier = Field(description="Whether the initial weights hold the classifier")
    normalization: InputNormalization | None = Field(
        description="Normalization of the input, or null for that of the training images"
    )
    spec: SpecField = Field(description="The network, with the input size and classes of the data")

    @property
    def recipe(self) -> Recipe:
        """The recipe with the batch size that the processes share."""
        return self.config.recipe.model_copy(update={"batch_size": self.batch_size})

    def flips_images(self, *, allow_flip: bool) -> bool:
        """Whether training mirrors images at random.

        Args:
            allow_flip: Whether a mirrored image of the data set keeps its class.
        """
        setting = self.config.data.horizontal_flip
        return allow_flip if setting == "auto" else setting


class TrainedNetwork(Artifact):
    """`spec.yaml`: the trained network, its classes and how an image becomes its input.

    `phinas.space.loading.load_spec` reads the network from this file too.
    """

    FORMAT: ClassVar[str] = "phinas/trained-network"
    VERSION: ClassVar[int] = SPEC_FILE_VERSIONS[FORMAT]
    ADVICE: ClassVar[str] = "restore the file from a copy, or train again with a new --out"

    spec: SpecField = Field(description="The network")
    classes: tuple[str, ...] = Field(description="Names of the classes, in the order of the logits")
    preprocessing: Preprocessing = Field(description="How an image becomes the input")


class FitMeasurement(Artifact):
    """`measurement.json`: the scores on the test split. It is written last."""

    FORMAT: ClassVar[str] = "phinas/fit-measurement"
    ADVICE: ClassVar[str] = "restore the file from a copy, or train again with a new --out"

    network_id: str = Field(description="Identifier of the network")
    measurement: MeasurementField = Field(description="Scores on the test split, and the curve")
    validation_images: int = Field(description="Number of images of the curve")
    machine: Machine
    pretrained_reference: PretrainedReference | None = Field(
        default=None, description="The fine-tuned published network to compare with, or null"
    )
    learning_problem: LearningProblem | None = Field(
        default=None, description="What shows that the network has learned little, or null"
    )
