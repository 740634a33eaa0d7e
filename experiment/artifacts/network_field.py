"""A network as a field of a file: its plain data in the file, an ArchSpec in memory."""

from typing import Annotated

from pydantic import PlainSerializer, PlainValidator

from phinas.space.spec import ArchSpec


def _parse(value: object) -> ArchSpec:
    return value if isinstance(value, ArchSpec) else ArchSpec.from_dict(value)


SpecField = Annotated[ArchSpec, PlainValidator(_parse), PlainSerializer(ArchSpec.to_dict)]
