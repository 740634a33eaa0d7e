"""The objective of a search: its reward, the exponent of the reward, and the latencies.

All follow from the configuration and the record. What is measured once (an estimated exponent, the
latency of the base network) is recorded, and later read from the record.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from phinas.experiment.artifacts.artifact_errors import describe_problem
from phinas.experiment.artifacts.baseline_file import ExponentEstimate, RewardRecord
from phinas.experiment.errors import NoResultError, StorageError
from phinas.experiment.executors import Executor
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.latency import LatencyCache
from phinas.nas.reward import Reward, make_reward
from phinas.nas.reward_exponent import estimate_reward_exponent
from phinas.nas.trial import TrialAttributes, analytic_cost
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.training.timing.latency import LatencyTimer

# Study attribute: the reward of the trials. In a search for a Pareto front, the reward that selects
# from the front.
REWARD_ATTRIBUTE = "reward"


def make_search_reward(
    section: SearchSection,
    space: SearchSpace,
    *,
    exponent: float | None = None,
    target: float | None = None,
) -> Reward:
    """The reward of a search.

    Args:
        section: The configuration of the search.
        space: The search space. The cost of its base network is the default target.
        exponent: The estimated exponent, if the configuration states none.
        target: The latency of the base network in ms, if latency is the cost.
    """
    kind = "soft" if section.reward == "pareto" else section.reward
    if exponent is None and section.reward_exponent != "auto":
        exponent = section.reward_exponent
    if section.target_cost is not None:
        target = section.target_cost
    elif target is None:
        target = analytic_cost(space.base, section.cost)
    return make_reward(kind, exponent=exponent, target=target, cost_metric=section.cost)


def measure_default_target(
    section: SearchSection,
    space: SearchSpace,
    latency_cache: LatencyCache | None,
    executor: Executor,
) -> float | None:
    """The latency of the base network in ms, which is the default target.

    Returns:
        None if latency is not the cost, or if the target is configured.

    Raises:
        NoResultError: The base network could not be timed.
    """
    if latency_cache is None or section.target_cost is not None:
        return None
    try:
        return latency_cache.measure_now(space.base, executor)
    except NoResultError as error:
        raise NoResultError(
            f"search.target_cost: the default is the latency of the base network, and {error}; "
            "remove the cause, or set the target"
        ) from None


def make_latency_cache(
    section: SearchSection, trial_store: TrialStore, latency_timer: LatencyTimer | None
) -> LatencyCache | None:
    """The latency cache of a search. None if latency is not the cost."""
    if section.cost != "latency":
        return None
    if latency_timer is None:
        raise ValueError("a search whose cost is latency needs a latency_timer")
    return LatencyCache(trial_store, latency_timer)


def make_reward_record(reward: Reward, estimate: ExponentEstimate | None) -> RewardRecord:
    """The record of a reward.

    Args:
        reward: The reward.
        estimate: How its exponent was estimated. None if it was configured.
    """
    # A Reward holds kind and cost metric as any text. The record checks them.
    return RewardRecord.model_validate(
        {
            "kind": reward.kind,
            "exponent": reward.exponent,
            "target": reward.target,
            "cost_metric": reward.cost_metric,
            "exponent_estimate": estimate,
        }
    )


def reward_from_record(record: RewardRecord) -> Reward:
    """The reward that a record describes."""
    return Reward(record.kind, record.exponent, record.target, record.cost_metric)


def read_reward_record(study_attrs: Mapping[str, Any]) -> RewardRecord | None:
    """The reward that a study has recorded.

    Args:
        study_attrs: The attributes of the study `search`.

    Returns:
        None if the exponent has not been estimated yet.

    Raises:
        StorageError: The attribute is damaged or of another version.
    """
    data = study_attrs.get(REWARD_ATTRIBUTE)
    if data is None:
        return None
    try:
        # JSON mode, where a strict tuple accepts the list that the study holds
        return RewardRecord.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise StorageError(
            f"study search: attribute {REWARD_ATTRIBUTE}: "
            f"{describe_problem(error, RewardRecord)}; use the phinas version that wrote it, or "
            "start a new run directory"
        ) from None


def record_reward(
    trial_store: TrialStore, reward: Reward, estimate: ExponentEstimate | None
) -> None:
    """Record the reward of the search. Arguments as for `make_reward_record`."""
    trial_store.set_study_attr(REWARD_ATTRIBUTE, make_reward_record(reward, estimate).to_dict())


def estimate_exponent(
    trial_store: TrialStore, section: SearchSection, *, seed: int
) -> ExponentEstimate | None:
    """The exponent of the reward, estimated from the measured trials.

    A recorded estimate is returned as it is. A search for a Pareto front is the exception: its
    exponent is estimated again from all trials.

    Returns:
        None if the exponent is configured.
    """
    pareto = section.reward == "pareto"
    if section.reward_exponent != "auto" and not (pareto and section.reward_exponent is None):
        return None
    recorded = read_reward_record(trial_store.study_attrs)
    if recorded is not None and recorded.exponent_estimate is not None and not pareto:
        return recorded.exponent_estimate
    measured = [
        (TrialAttributes.from_record(record), record.measurement)
        for record in trial_store.records()
        if record.is_complete or record.is_unscored
    ]
    measured.sort(key=lambda item: item[0].proposal)
    return estimate_reward_exponent(
        [measurement.score for _, measurement in measured],
        [attributes.get_cost(section.cost) for attributes, _ in measured],
        seed=derive_seed(seed, "weight"),
    )


def score_unscored_trials(trial_store: TrialStore, reward: Reward) -> None:
    """Record the rewards of the trials that were measured before the exponent was known."""
    for record in trial_store.records():
        if record.is_unscored:
            cost = TrialAttributes.from_record(record).get_cost(reward.cost_metric)
            trial_store.set_value(record.number, reward(record.measurement.score, cost))
