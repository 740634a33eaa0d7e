"""The training that saved weights are from, and its score."""

from typing import Annotated

from pydantic import Field

from phinas.experiment.artifacts.artifact import Record

Score = Annotated[float, Field(ge=0, le=1)]


class SavedWeights(Record):
    """The training of a network whose weights were saved. The others' were not."""

    seed: int = Field(description="seed of the training")
    score: Score = Field(description="its score on the test split, 0 to 1")


class TrainedWeights(SavedWeights):
    """The training that weights are from, and the mean over all trainings of the network."""

    metric: str = Field(description="name of the score: accuracy, balanced_accuracy, macro_f1, ...")
    images: int = Field(description="images of the test split")
    mean_score: Score = Field(description="mean over all trainings, 0 to 1")
    trainings: int = Field(ge=1, description="number of trainings of the network")
