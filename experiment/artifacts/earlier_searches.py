"""`search/earlier_searches.json`: the trials of other runs that a search learned from."""

from typing import Annotated, ClassVar

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Record

Value = bool | int | float | str


class EarlierSearchRecord(Record):
    """The complete trials of one run; lists are in the order of its proposals."""

    run: str = Field(description="run directory as search.learn_from names it")
    run_id: str = Field(description="id of its manifest")
    data_fingerprint: str | None = Field(
        description="hash of its images, as in its manifest; null: it had none"
    )
    choices: Annotated[tuple[tuple[Value, ...], ...], Field(min_length=1)] = Field(
        description="choices of each network, one value for each decision"
    )
    scores: tuple[float, ...] = Field(description="score of each network, 0 to 1")


class EarlierSearchesFile(Artifact):
    """The earlier searches, as they were when this one began. It is not read from the other runs
    again.
    """

    FORMAT: ClassVar[str] = "phinas/earlier-searches"

    decisions: tuple[str, ...] = Field(description="decisions of the search space, in order")
    searches: tuple[EarlierSearchRecord, ...]
