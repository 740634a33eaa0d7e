"""What a search is after, as its configuration and its record say: target, exponent, reward,
latencies.

What is decided once (an estimated exponent, the base's latency) is noted in the record and read
from there ever after.
"""

from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.trial_store import TrialStore
from phinas.nas.latency import LatencyCache
from phinas.nas.reward import Reward, make_reward
from phinas.nas.reward_exponent import ExponentEstimate, estimate_reward_exponent
from phinas.nas.trial import analytic_cost, recorded_cost
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.training.timing.latency import LatencyTimer

REWARD = (
    "reward"  # note of the study: the reward that its trials have, or that chooses from its front
)


def make_search_reward(
    section: SearchSection,
    space: SearchSpace,
    *,
    exponent: float | None = None,
    target: float | None = None,
) -> Reward:
    """The reward of a search. exponent: as estimated, for `auto`; target: the base's latency, where
    that is the cost.
    """
    kind = "soft" if section.reward == "pareto" else section.reward
    if exponent is None and section.reward_exponent != "auto":
        exponent = section.reward_exponent
    if section.target_cost is not None:
        target = section.target_cost
    elif target is None:
        target = analytic_cost(space.base, section.cost)
    return make_reward(kind, exponent=exponent, target=target, metric=section.cost)


def make_latency_cache(
    section: SearchSection, trial_store: TrialStore, latency_timer: LatencyTimer | None
) -> LatencyCache | None:
    """What times networks and knows what was timed; None where latency is not the cost."""
    if section.cost != "latency":
        return None
    if latency_timer is None:
        raise ValueError("a search whose cost is latency needs a latency_timer")
    return LatencyCache(trial_store, latency_timer)


def resolve_reward_exponent(
    trial_store: TrialStore, section: SearchSection, *, seed: int
) -> ExponentEstimate:
    """The exponent as it was recorded, or from what was measured; for the choice on a front always
    from all there is.
    """
    recorded = trial_store.study_attrs.get(REWARD)
    if recorded and section.reward != "pareto":
        return ExponentEstimate(recorded["exponent"], recorded["explanation"])
    rows = sorted(
        (row for row in trial_store.records() if row.is_complete or row.is_unscored),
        key=lambda row: row.user_attrs["proposal"],
    )
    costs = [recorded_cost(section.cost, row.user_attrs) for row in rows]
    return estimate_reward_exponent(
        [row.measurement.accuracy for row in rows], costs, seed=derive_seed(seed, "weight")
    )


def score_unscored_trials(trial_store: TrialStore, reward: Reward) -> None:
    """Give their rewards to the trials that waited for the exponent."""
    for row in trial_store.records():
        if row.is_unscored:
            trial_cost = recorded_cost(reward.metric, row.user_attrs)
            trial_store.set_value(row.number, reward(row.measurement.accuracy, trial_cost))
