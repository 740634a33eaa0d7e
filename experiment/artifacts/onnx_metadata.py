"""What phinas writes into the metadata of an ONNX file, one property for each field.

Any program reads them: `session.get_modelmeta().custom_metadata_map["classes"]` is a JSON list.
"""

import json
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, ValidationError

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.artifacts.artifact_errors import describe_problem
from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.experiment.errors import InputError

InputKind = Literal["normalized float32 NCHW", "uint8 NHWC"]
NORMALIZED_INPUT: InputKind = "normalized float32 NCHW"
PIXEL_INPUT: InputKind = "uint8 NHWC"


class AccuracyChange(Record):
    """Accuracy on the test split before and after the weights and activations became 8-bit."""

    float32: float = Field(ge=0, le=1, description="Accuracy of the float32 file")
    int8: float = Field(ge=0, le=1, description="Accuracy of the int8 file")
    images: int = Field(ge=1, description="Number of test images")


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
    test_accuracy: AccuracyChange | None = Field(
        default=None, description="Of an int8 file; null for float32"
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
