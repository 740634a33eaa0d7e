"""What phinas writes into the metadata of an ONNX file, one property for each field.

Any program reads them: `session.get_modelmeta().custom_metadata_map["classes"]` is a JSON list.
"""

import json
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, ValidationError

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.artifacts.artifact_errors import describe_problem
from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.experiment.artifacts.trained_weights import TrainedWeights
from phinas.experiment.errors import InputError

InputKind = Literal["normalized float32 NCHW", "uint8 NHWC"]
NORMALIZED_INPUT: InputKind = "normalized float32 NCHW"
PIXEL_INPUT: InputKind = "uint8 NHWC"


class OnnxAccuracy(Record):
    """Accuracy on the test split, before and after the weights and activations became 8-bit."""

    SIGNIFICANCE: ClassVar[float] = 0.05

    float32: float = Field(
        ge=0, le=1, description="Accuracy in float32; of a float32 file that of the training"
    )
    int8: float | None = Field(
        default=None, ge=0, le=1, description="Accuracy of an int8 file; null for float32"
    )
    images: int = Field(ge=1, description="Number of test images")
    lost: int | None = Field(
        default=None, ge=0, description="Test images that only float32 classifies correctly"
    )
    gained: int | None = Field(
        default=None, ge=0, description="Test images that only int8 classifies correctly"
    )

    @property
    def is_loss_significant(self) -> bool:
        """Whether int8 is significantly worse, by McNemar's exact test on the same images."""
        from scipy.stats import binomtest

        lost, gained = self.lost or 0, self.gained or 0
        if lost <= gained:
            return False
        return bool(binomtest(lost, lost + gained).pvalue < self.SIGNIFICANCE)


class OnnxMetadata(Record):
    """The metadata of an ONNX file."""

    network_id: str = Field(description="Identifier of the network")
    input: InputKind = Field(
        description="Type and shape of the input `images`; a uint8 input is preprocessed in the "
        "graph"
    )
    precision: Literal["float32", "int8"]
    classes: tuple[str, ...] | None = Field(
        description="Names of the classes, in the order of the logits; null: unknown"
    )
    preprocessing: Preprocessing | None = Field(
        description="How an image becomes the normalized input; null: unknown"
    )
    trained_weights: TrainedWeights | None = Field(
        default=None, description="The training that the weights are from; null: unknown"
    )
    test_accuracy: OnnxAccuracy | None = Field(
        default=None, description="Accuracy on the test split; null: unknown"
    )

    def to_properties(self) -> dict[str, str]:
        """Text by name; values that are not text are JSON."""
        properties = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in self.to_dict().items()
        }
        if self.preprocessing is not None:
            properties["preprocessing_steps"] = "\n".join(
                f"{number}. {step}" for number, step in enumerate(self.preprocessing.steps(), 1)
            )
        return properties

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], *, source: str) -> Self:
        """The metadata of a file.

        Args:
            properties: Text by name.
            source: The name of the file, for error messages.

        Raises:
            InputError: phinas did not write the file, or a property is damaged.
        """
        if "network_id" not in properties:
            raise InputError(
                f"{source}: has no metadata of phinas, so its classes and its preprocessing are "
                "unknown; export it again with `phinas export`"
            )
        values = {
            name: properties[name]
            if name in ("network_id", "input", "precision")
            else _parse(properties[name], name=name, source=source)
            for name in cls.model_fields
            if name in properties
        }
        try:
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            problem = describe_problem(error, cls)
            raise InputError(f"{source}: metadata: {problem}; export it again") from None


def _parse(text: str, *, name: str, source: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise InputError(f"{source}: metadata: {name} is not JSON; export it again") from None
