"""A measurement as a field of a file: its plain data in the file, a Measurement in memory."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator

from phinas.experiment.measurement import Measurement


def _parse(value: object) -> Measurement:
    if isinstance(value, Measurement):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping of keys")
    try:
        return Measurement.from_dict(value)
    except TypeError as error:  # a field is missing
        raise ValueError(str(error)) from None


MeasurementField = Annotated[
    Measurement, PlainValidator(_parse), PlainSerializer(Measurement.to_dict)
]
