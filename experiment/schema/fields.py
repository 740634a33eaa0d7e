"""What fields of sections are made of: numbers within their bounds."""

import math
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _check_finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("is not a finite number")
    return value


FiniteFloat = Annotated[float, AfterValidator(_check_finite)]
PositiveFloat = Annotated[FiniteFloat, Field(gt=0)]
Fraction = Annotated[FiniteFloat, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1, le=10_000_000)]


class Section(BaseModel):
    """Strict, and unchanged once made."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
