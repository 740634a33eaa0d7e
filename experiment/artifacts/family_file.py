"""`scaling/family/b0.yaml` and so on: one network of the family each."""

from typing import ClassVar, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Interval, Record
from phinas.experiment.artifacts.network_field import NetworkField
from phinas.space.loading import SPEC_FILE_VERSIONS


class BudgetRecord(Record):
    """The budget that a network of the family was made for."""

    cost_metric: Literal["flops", "params", "latency_ms"]
    limit: float = Field(description="the budget, in the unit of the cost")
    value: float = Field(description="what the network needs")
    phi_interval: Interval = Field(description="all phi that round to this network")


class FamilyMember(Artifact):
    """A network of the family.

    B0 is the baseline; larger members are b1, b2, ..., smaller ones b-1, b-2, ...
    """

    FORMAT: ClassVar[str] = "phinas/family-member"
    VERSION: ClassVar[int] = SPEC_FILE_VERSIONS[FORMAT]

    name: str
    phi: float = Field(description="exponent of the compound coefficients")
    spec: NetworkField
    network_id: str
    flops: int = Field(description="multiply-adds per image")
    params: int
    activations: int
    ratio: float = Field(description="FLOPs over the baseline's")
    budget: BudgetRecord | None = Field(description="null: made for a phi")
