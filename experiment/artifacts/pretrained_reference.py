"""The comparison of a network with a published one that was fine-tuned on the same images."""

from pydantic import Field

from phinas.experiment.artifacts.artifact import Interval, Record


class PretrainedReference(Record):
    """A published network, fine-tuned on the same images, and a network compared with it."""

    network: str = Field(description="Name of the published network")
    weights: str = Field(description="Its initial weights")
    flops: int = Field(description="Its multiply-adds per image")
    epochs: int = Field(description="Epochs of its fine-tuning")
    score: float = Field(description="Its accuracy on the test split, 0 to 1")
    images: int = Field(description="Images of the test split")
    member: str = Field(description='The member of the family compared with it; "": the fit')
    trainings: int = Field(description="Trainings of that network, with different seeds")
    difference: float = Field(description="Mean accuracy of that network minus score")
    interval: Interval = Field(
        description="95% interval of difference, given the number of test images"
    )
