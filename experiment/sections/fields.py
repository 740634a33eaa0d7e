"""What fields of sections are made of: numbers within their bounds, and the recipe of a training."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("is not a finite number")
    return value


Finite = Annotated[float, AfterValidator(_finite)]
Positive = Annotated[Finite, Field(gt=0)]
Fraction = Annotated[Finite, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


class Section(BaseModel):
    """Strict, and unchanged once made."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Recipe(Section):
    """How a network is trained: SGD with Nesterov momentum (or AdamW), linear warm-up, cosine decay to zero.

    Not the paper's RMSProp with 350 epochs: a poor recipe for short runs. Accuracies are not comparable with published ones.
    """

    epochs: Count = Field(default=10, description="passes over the training images")
    batch: Count = Field(default=128, description="images a step")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd: Nesterov momentum 0.9")
    learning_rate: Positive = Field(default=0.2, description="peak; for sgd per 256 images of a batch, for adamw as it is")
    warmup: Fraction = Field(default=0.2, description="fraction of the steps in which the rate rises from zero")
    weight_decay: Annotated[Finite, Field(ge=0, le=1)] = Field(default=5e-4, description="not applied to norms and biases")
    label_smoothing: Fraction = Field(default=0.1, description="probability mass spread over all classes")
