"""The state of a trial while its training runs."""

from dataclasses import dataclass, field

from phinas.nas.trial import TrialAttributes
from phinas.space.spec import ArchSpec


@dataclass
class RunningTrial:
    """A trial whose training runs.

    Attributes:
        number: Its number in the record.
        spec: The network.
        attributes: Its recorded attributes.
        stop_epoch: The epoch at which its training pauses. None if it runs to the end.
        reported_scores: Scores that it has reported, by epoch.
        pruned_at: The epoch after which the pruner has stopped it. None if it has not.
    """

    number: int
    spec: ArchSpec
    attributes: TrialAttributes
    stop_epoch: int | None = None
    reported_scores: dict[int, float] = field(default_factory=dict)
    pruned_at: int | None = None

    @property
    def proposal(self) -> int:
        return self.attributes.proposal
