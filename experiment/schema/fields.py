"""How a configuration key is declared: its type says its bounds, `option` the rest.

A key is declared once, here in the schema. The command line, the error messages and
docs/configuration.md read its annotation and the metadata that `option` attaches.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

OnResume = Literal["fixed", "may change", "may grow"]

INVALID_KEY = "phinas_invalid_key"
_COUNT = re.compile(r"(\d+\.?\d*|\.\d+)(e[-+]?\d+)?([kMG])", re.ASCII)
_DURATION = re.compile(r"(?:(\d+\.?\d*)h)?\s*(?:(\d+\.?\d*)m)?", re.ASCII)
COUNT_SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9}


def option(
    meaning: str,
    *,
    default: Any = ...,
    unit: str | None = None,
    values: str | None = None,
    default_text: str | None = None,
    on_resume: OnResume = "fixed",
) -> Any:
    """Declare a configuration key.

    Args:
        meaning: Full sentences, for help, errors and docs/configuration.md.
        default: The default value. Without it the key is required.
        unit: The unit of a number, such as "px". None for a number without dimension.
        values: The legal values, where the annotation does not say them. `{strategies}` and the
            like stand for the names in a table of the front end.
        default_text: What the default means, where the value alone does not say it.
        on_resume: Whether a resumed run may change the key: not at all, freely, or to a larger
            number only.
    """
    metadata: dict[str, Any] = {
        "unit": unit,
        "values": values,
        "default_text": default_text,
        "on_resume": on_resume,
    }
    return Field(default=default, description=meaning, json_schema_extra=metadata)


def invalid(key: str, reason: str) -> PydanticCustomError:
    """The error of a validator that looks at a whole section.

    Args:
        key: The key of the section that the user should change, or "" for the section itself.
        reason: What is wrong with it and what to do, to follow the name of the key.
    """
    return PydanticCustomError(INVALID_KEY, "{reason}", {"key": key, "reason": reason})


def check_network_and_weights(value: str) -> str:
    """`value` if it has the form `NETWORK=WEIGHTS`."""
    if not all(map(str.strip, value.partition("=")[::2])):
        raise ValueError("does not name a network and its weights; use NETWORK=WEIGHTS")
    return value


def parse_count(value: Any) -> Any:
    """Read "300M" as 3e8 (suffixes k, M and G); return any other value unchanged."""
    match = _COUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    digits, exponent, suffix = match.groups()
    return float(f"{digits}{exponent or ''}") * COUNT_SUFFIXES[suffix]


def parse_minutes(value: Any) -> Any:
    """Read "1h30m" as 90.0; return any value that is not text unchanged.

    Raises:
        ValueError: The text is not a duration.
    """
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None or not any(match.groups()):
        raise ValueError("is not a duration; write minutes or hours, such as 30m, 2h or 1h30m")
    hours, minutes = (float(number or 0) for number in match.groups())
    return 60 * hours + minutes


FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
PositiveFloat = Annotated[FiniteFloat, Field(gt=0)]
Fraction = Annotated[FiniteFloat, Field(ge=0, lt=1)]
PositiveFraction = Annotated[FiniteFloat, Field(gt=0, lt=1)]
UnitInterval = Annotated[FiniteFloat, Field(ge=0, le=1)]
# A published network and its weights.
NetworkAndWeights = Annotated[str, AfterValidator(check_network_and_weights)]
REFERENCE_VALUES = "NETWORK=WEIGHTS, such as efficientnet_b0=hf:timm/efficientnet_b0.ra_in1k"
PositiveInt = Annotated[int, Field(ge=1, le=10_000_000)]
NonEmptyText = Annotated[str, Field(min_length=1)]
# FLOPs, parameters and the like, which may be written as 300M.
Count = Annotated[PositiveFloat, BeforeValidator(parse_count)]
# A duration, which may be written as 1h30m.
Minutes = Annotated[PositiveFloat, BeforeValidator(parse_minutes)]


class Section(BaseModel):
    """A mapping of configuration keys: strictly typed, immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
