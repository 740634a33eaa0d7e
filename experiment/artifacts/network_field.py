"""A network as a field of a file: its plain data in the file, a network in memory."""

from typing import Annotated

from pydantic import PlainSerializer, PlainValidator

from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.network import ScalableNetwork, network_from_dict
from phinas.space.spec import ArchSpec


def _parse_network(value: object) -> ScalableNetwork:
    return value if isinstance(value, ArchSpec | BuiltNetwork) else network_from_dict(value)


def _parse_spec(value: object) -> ArchSpec:
    return value if isinstance(value, ArchSpec) else ArchSpec.from_dict(value)


def _to_dict(network: ScalableNetwork) -> dict[str, object]:
    return network.to_dict()


# of any kind
NetworkField = Annotated[ScalableNetwork, PlainValidator(_parse_network), PlainSerializer(_to_dict)]
# in stages
SpecField = Annotated[ArchSpec, PlainValidator(_parse_spec), PlainSerializer(ArchSpec.to_dict)]
