"""Rediscovery: whether the selected network reaches the reward of the reference network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phinas.experiment.artifacts.baseline_file import ReferenceRecord
from phinas.experiment.statistics.paired_comparison import compare_pair
from phinas.space.network import Network


@dataclass(frozen=True, slots=True)
class MeasuredReference:
    """A reference network that was trained.

    Attributes:
        name: Its name in the configuration.
        spec: The network for the images of the search.
        scores: Scores with the finalists' recipe, one for each seed.
        rewards: The rewards of these scores.
        search_score: Score with the recipe of the search. None if that training failed.
        search_reward: The reward of search_score.
        latency_ms: Its latency in ms. None if latency is not the cost.
    """

    name: str
    spec: Network
    scores: list[float]
    rewards: list[float]
    search_score: float | None
    search_reward: float | None
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Rediscovery:
    """The comparison of the selected network with the reference, by mean reward.

    Attributes:
        is_same_network: Whether the selected network is the reference.
        reward_difference: Mean reward of the selected network minus that of the reference.
        ci_low: Lower end of the 95% interval of the difference. -inf if it is unknown, as after one
            training each. The interval accounts for the selection of the network as the best of
            several.
        ci_high: Upper end of the interval. inf if it is unknown.
    """

    is_same_network: bool
    reward_difference: float
    ci_low: float
    ci_high: float

    @property
    def is_rediscovered(self) -> bool | None:
        """Whether the selected network has at least the reward of the reference. None if the
        difference is not significant.
        """
        return True if self.ci_low >= 0 else False if self.ci_high < 0 else None


def compare_with_reference(
    rewards: Mapping[str, Sequence[float]], selected: str, measured_reference: MeasuredReference
) -> Rediscovery:
    """Compare the selected network with the reference.

    Args:
        rewards: Rewards of each finalist by network_id, one for each seed.
        selected: The network_id of the selected finalist.
        measured_reference: The reference.
    """
    name = measured_reference.spec.network_id
    if name == selected:
        return Rediscovery(True, 0.0, 0.0, 0.0)
    table = {**rewards, name: measured_reference.rewards}
    return Rediscovery(False, *compare_pair(table, selected, name, candidates=len(rewards)))


def make_reference_record(
    measured_reference: MeasuredReference, rewards: Mapping[str, Sequence[float]], *, selected: str
) -> ReferenceRecord:
    """The record of a trained reference. Arguments as for `compare_with_reference`."""
    spec, cost = measured_reference.spec, measured_reference.spec.cost()
    rediscovery = compare_with_reference(rewards, selected, measured_reference)
    interval = (rediscovery.ci_low, rediscovery.ci_high)
    return ReferenceRecord(
        name=measured_reference.name,
        network_id=spec.network_id,
        flops=cost.flops,
        params=cost.params,
        activations=cost.activations,
        latency_ms=measured_reference.latency_ms,
        search_score=measured_reference.search_score,
        search_reward=measured_reference.search_reward,
        scores=tuple(measured_reference.scores),
        reward=sum(measured_reference.rewards) / len(measured_reference.rewards),
        reward_difference=rediscovery.reward_difference,
        interval=interval if math.isfinite(rediscovery.ci_low) else None,
        rediscovered=rediscovery.is_rediscovered,
        is_selected_network=rediscovery.is_same_network,
    )
