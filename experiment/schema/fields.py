"""What fields of sections are made of: numbers within their bounds."""

import math
from typing import Annotated

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
