"""What a search is after, as its configuration and its record say: target, weight, reward,
latencies.

What is decided once (an estimated weight, the base's latency) is noted in the record and read from
there ever after.
"""

from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import seed_of
from phinas.experiment.trial_store import Ledger
from phinas.nas.latency import Latencies
from phinas.nas.reward import Reward, make_reward
from phinas.nas.reward_exponent import Weight, estimate_weight
from phinas.nas.trial import cost_in, price_of
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.training.timing.latency import Stopwatch

REWARD = (
    "reward"  # note of the study: the reward that its trials have, or that chooses from its front
)


def reward_of(
    section: SearchSection,
    space: SearchSpace,
    *,
    weight: float | None = None,
    target: float | None = None,
) -> Reward:
    """The reward of a search. weight: as estimated, for `auto`; target: the base's latency, where
    that is the cost.
    """
    kind = "soft" if section.reward == "pareto" else section.reward
    if weight is None and section.weight != "auto":
        weight = section.weight
    if section.target is not None:
        target = section.target
    elif target is None:
        target = price_of(space.base, section.cost)
    return make_reward(kind, weight=weight, target=target, metric=section.cost)


def known_latencies(
    section: SearchSection, ledger: Ledger, stopwatch: Stopwatch | None
) -> Latencies | None:
    """What times networks and knows what was timed; None where latency is not the cost."""
    if section.cost != "latency":
        return None
    if stopwatch is None:
        raise ValueError("a search whose cost is latency needs a stopwatch")
    return Latencies(ledger, stopwatch)


def weight_of(ledger: Ledger, section: SearchSection, *, seed: int) -> Weight:
    """The weight as it was noted, or from what was measured; for the choice on a front always from
    all there is.
    """
    noted = ledger.notes.get(REWARD)
    if noted and section.reward != "pareto":
        return Weight(noted["weight"], noted["why"])
    rows = sorted(
        (row for row in ledger.rows() if row.done or row.held),
        key=lambda row: row.attributes["proposal"],
    )
    costs = [cost_in(section.cost, row.attributes) for row in rows]
    return estimate_weight(
        [row.measurement.accuracy for row in rows], costs, seed=seed_of(seed, "weight")
    )


def reward_the_held(ledger: Ledger, reward: Reward) -> None:
    """Settle the trials that waited for the weight."""
    for row in ledger.rows():
        if row.held:
            price = cost_in(reward.metric, row.attributes)
            ledger.settle(row.number, reward(row.measurement.accuracy, price))
