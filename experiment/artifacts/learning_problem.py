"""Predictions that show that a network has learned little, as the facts of one remark."""

from typing import Annotated, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Record

Fraction = Annotated[float, Field(ge=0, le=1)]


class LearningProblem(Record):
    """A network that has learned little, by its predictions for labeled images.

    `phinas.experiment.learning_check` has the rule.
    """

    case: Literal["one_class", "no_better_than_largest_class"]
    class_name: str = Field(
        description="one_class: the most frequent prediction; otherwise the class with most images"
    )
    predicted: Fraction = Field(description="fraction of the images that are predicted as it")
    labeled: Fraction = Field(description="fraction of the images whose label it is")
    accuracy: Fraction = Field(description="accuracy on the images")
    images: int = Field(ge=1, description="number of images")
