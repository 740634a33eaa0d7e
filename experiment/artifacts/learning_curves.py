"""The file of learning curves from which the evaluator `curves:FILE` scores networks."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from phinas.experiment.artifacts.artifact import Artifact, Record
from phinas.experiment.artifacts.manifest import Count

Value = bool | int | float | str
Accuracy = Annotated[float, Field(ge=0, le=1)]


class LearningCurve(Record):
    """One training of one network."""

    network: Count = Field(description="Index of the network in `networks`")
    seed: int = Field(description="Seed of the training")
    accuracies: tuple[Accuracy, ...] = Field(description="Validation accuracy after each epoch")


class LearningCurves(Artifact):
    """Learning curves of networks of one search space, trained in the same way."""

    FORMAT: ClassVar[str] = "phinas/learning-curves"
    ADVICE: ClassVar[str] = "correct the file, or name another one"

    description: str = Field(description="How the networks were trained, as a phrase")
    space: str = Field(description="Name of the search space")
    epochs: Count = Field(description="Epochs of each training")
    decisions: tuple[str, ...] = Field(description="The decisions of the search space, in order")
    networks: tuple[tuple[Value, ...], ...] = Field(
        description="The choices of each network, one value for each decision; inactive ones have "
        "the first value"
    )
    curves: tuple[LearningCurve, ...] = Field(
        description="The trainings; each network has at least one. The first one of a network is "
        "its score in a search"
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> "LearningCurves":
        for index, choices in enumerate(self.networks):
            if len(choices) != len(self.decisions):
                raise ValueError(
                    f"networks: the choices of network {index} are {len(choices)}, and there are "
                    f"{len(self.decisions)} decisions"
                )
        for number, curve in enumerate(self.curves):
            if curve.network >= len(self.networks):
                raise ValueError(f"curves: curve {number} is of network {curve.network}")
            if len(curve.accuracies) != self.epochs:
                raise ValueError(
                    f"curves: curve {number} has {len(curve.accuracies)} accuracies and not "
                    f"{self.epochs}, one for each epoch"
                )
        without_curve = {*range(len(self.networks))} - {curve.network for curve in self.curves}
        if without_curve:
            raise ValueError(f"curves: there is none of network {min(without_curve)}")
        return self
