"""The published network beside what was found: trained under exactly the finalists' recipe, seeds,
resolution and classes, and judged by the same reward. What acts in training only (dropout,
stochastic depth, momentum of batch norm) is as in the search's
networks too: B0's own momentum needs thousands of steps. To rediscover it is to reach its reward
under the same proxy, not to find the same network.

`search.reference` names it; `auto` is EfficientNet-B0 where that costs little against the search,
and says why where not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import Executor
from phinas.experiment.job_list import Outcome, Task, accuracies_by_network, failure_reasons
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.statistics.paired_comparison import ROUNDING_TOLERANCE, compare_pair
from phinas.experiment.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.latency import LatencyCache
from phinas.nas.search import SearchResult, make_cost_constraint
from phinas.nas.trial import LATENCY, Trial, analytic_cost
from phinas.space.cost import network_cost
from phinas.space.loading import load_spec
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import YamlError
from phinas.training.timing.latency import LatencyTimer

AUTO_REFERENCE = "efficientnet_b0"
_INHERITED_FIELDS = ("channels", "classes", "resolution", "dropout", "drop_path", "bn_momentum")
_MAX_COST_RATIO = (
    4  # times the FLOPs of the dearest trial: beyond it `auto` would cost more than it tells
)


@dataclass(frozen=True, slots=True)
class ReferenceNetwork:
    """spec: for the images of the search; None where it is left out, for the reason
    `exclusion_reason`.
    """

    name: str
    spec: ArchSpec | None
    exclusion_reason: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredReference:
    """A reference that was trained. rewards: by seed, as `accuracies`; search_accuracy: of a
    training like those of the search, with its seed (None: that one failed); latency_ms: where
    latency is the cost."""

    name: str
    spec: ArchSpec
    accuracies: list[float]
    rewards: list[float]
    search_accuracy: float | None
    search_reward: float | None
    latency_ms: float | None


def require_reference(name: str) -> None:
    """Raises InputError where `search.reference` names no network."""
    if name in ("none", "auto"):
        return
    try:
        load_spec(name)
    except (SpecError, YamlError) as error:
        raise InputError(f"search.reference: {error}; or write none, or auto") from None


def resolve_reference(
    section: SearchSection,
    cost_constraint: CostConstraint,
    base: ArchSpec,
    *,
    max_trial_flops: float,
) -> ReferenceNetwork | None:
    """What `search.reference` means for the images and the resolution of `base`; None for `none`.

    max_trial_flops: FLOPs of the dearest trial. Raises SpecError or YamlError for a name that is
    none.
    """
    if section.reference == "none":
        return None
    source = AUTO_REFERENCE if section.reference == "auto" else section.reference
    published_spec = load_spec(source)
    name = Path(source).name  # of a file without its folders
    try:
        spec = replace(published_spec, **{name: getattr(base, name) for name in _INHERITED_FIELDS})
    except SpecError as error:
        return ReferenceNetwork(
            name, None, f"it can't be made for the images of this search ({error})"
        )
    flops = network_cost(spec).flops
    if section.reference == "auto" and not cost_constraint.is_satisfied(flops):
        return ReferenceNetwork(
            name,
            None,
            f"its {flops:,} FLOPs at {base.resolution} pixels are outside search.min_flops, "
            "max_flops",
        )
    if section.reference == "auto" and flops > _MAX_COST_RATIO * max_trial_flops:
        return ReferenceNetwork(
            name,
            None,
            f"its {flops:,} FLOPs at {base.resolution} pixels are over {_MAX_COST_RATIO} times "
            "those of the "
            "dearest trial; "
            f"search.reference: {name} takes it all the same",
        )
    return ReferenceNetwork(name, spec)


class ReferenceTraining:
    """The trainings of a reference beside those of the finalists. One more is like those of the
    search, to be seen among them.

    seeds: of the finalists' trainings.
    """

    def __init__(
        self,
        result: SearchResult,
        section: SearchSection,
        space: SearchSpace,
        evaluator: Evaluator,
        *,
        seed: int,
        seeds: Sequence[int],
    ) -> None:
        self._reward = result.reward
        max_trial_flops = max(trial.cost.flops for trial in result.trials)
        self._reference = resolve_reference(
            section, make_cost_constraint(section), space.base, max_trial_flops=max_trial_flops
        )
        self._finalist_tasks: list[Task] = []
        self._search_task: Task | None = None
        self._trial: Trial | None = None  # the search may have measured it
        self._latency_ms: float | None = None
        spec = self._reference.spec if self._reference else None
        if spec is None:
            return

        def task(recipe: Recipe, training_seed: int) -> Task:
            assert self._reference is not None
            attributes = {
                "spec_id": spec.spec_id,
                "flops": network_cost(spec).flops,
                "reference": self._reference.name,
            }
            return Task(
                evaluator.make_job(spec, recipe, training_seed),
                attributes | {"seed": training_seed},
            )

        self._finalist_tasks = [
            task(section.finalist_recipe, training_seed) for training_seed in seeds
        ]
        self._trial = next(
            (trial for trial in result.trials if trial.spec.spec_id == spec.spec_id), None
        )
        if self._trial is None:
            self._search_task = task(section.recipe, derive_seed(seed, "search"))

    @property
    def tasks(self) -> list[Task]:
        return [*self._finalist_tasks, *([self._search_task] if self._search_task else [])]

    def measure_latency(
        self, trial_store: TrialStore, latency_timer: LatencyTimer | None, executor: Executor
    ) -> None:
        """Where latency is the cost: time the reference, or read its time from `trial_store`. No
        job may be under way.
        """
        if (
            self._reward.metric != "latency"
            or self._reference is None
            or self._reference.spec is None
        ):
            return
        if self._trial is not None:
            self._latency_ms = self._trial.latency_ms
        elif latency_timer is None:
            raise ValueError("a reference whose cost is latency needs a latency_timer")
        else:
            try:
                self._latency_ms = LatencyCache(trial_store, latency_timer).measure_now(
                    self._reference.spec, executor
                )
            except NoResultError as error:
                self._exclude(str(error))

    def _exclude(self, exclusion_reason: str) -> None:
        assert self._reference is not None
        self._reference = ReferenceNetwork(self._reference.name, None, exclusion_reason)
        self._finalist_tasks, self._search_task = [], None

    def collect_result(
        self, outcomes: Mapping[str, Outcome]
    ) -> MeasuredReference | ReferenceNetwork | None:
        """What came of its trainings: measured, or left out with the reason."""
        paired = accuracies_by_network(self._finalist_tasks, outcomes)
        if self._finalist_tasks and not paired:
            self._exclude(
                failure_reasons(
                    {task.job.key: outcomes[task.job.key] for task in self._finalist_tasks}
                )
            )
        if self._reference is None or self._reference.spec is None:
            return self._reference
        spec = self._reference.spec
        search_measurement = self._trial.measurement if self._trial else None
        if self._search_task is not None:
            search_measurement = outcomes[self._search_task.job.key].measurement
        reference_cost = self._latency_ms or analytic_cost(spec, self._reward.metric)
        accuracies = paired[spec.spec_id]
        return MeasuredReference(
            self._reference.name,
            spec,
            accuracies,
            [self._reward(value, reference_cost) for value in accuracies],
            search_measurement.accuracy if search_measurement else None,
            self._reward(search_measurement.accuracy, reference_cost)
            if search_measurement
            else None,
            self._latency_ms,
        )


@dataclass(frozen=True, slots=True)
class Rediscovery:
    """reward_difference: by how much the chosen network's mean reward is above the reference's;
    ci_low, ci_high: the 95% interval of that (infinite where one training each tells nothing). The
    chosen one is the best of `finalists`, which widens the interval."""

    is_same_network: bool
    reward_difference: float
    ci_low: float
    ci_high: float

    @property
    def is_rediscovered(self) -> bool | None:
        """Whether the chosen network has at least the reward of the reference; None: it can't be
        told.
        """
        return True if self.ci_low >= 0 else False if self.ci_high < 0 else None


def compare_with_reference(
    rewards: Mapping[str, Sequence[float]], chosen: str, measured_reference: MeasuredReference
) -> Rediscovery:
    """rewards: of the finalists by spec_id."""
    name = measured_reference.spec.spec_id
    if name == chosen:
        return Rediscovery(True, 0.0, 0.0, 0.0)
    table = {**rewards, name: measured_reference.rewards}
    return Rediscovery(False, *compare_pair(table, chosen, name, candidates=len(rewards)))


def to_dict(
    measured_reference: MeasuredReference, rediscovery: Rediscovery, *, from_training: bool = True
) -> dict[str, Any]:
    """What `search/baseline.yaml` holds of a reference that was measured. from_training: by a
    training, not by a look-up.
    """
    spec = measured_reference.spec
    return {
        "name": measured_reference.name,
        "spec_id": spec.spec_id,
        "flops": network_cost(spec).flops,
        "params": network_cost(spec).params,
        "activations": network_cost(spec).activations,
        LATENCY: measured_reference.latency_ms,
        "search_accuracy": measured_reference.search_accuracy,
        "search_reward": measured_reference.search_reward,
        "accuracies": measured_reference.accuracies,
        "reward": sum(measured_reference.rewards) / len(measured_reference.rewards),
        "reward_difference": rediscovery.reward_difference,
        "interval": [rediscovery.ci_low, rediscovery.ci_high]
        if math.isfinite(rediscovery.ci_low)
        else None,
        "rediscovered": rediscovery.is_rediscovered,
        "explanation": explain(measured_reference.name, rediscovery, from_training=from_training),
    }


def explain(name: str, rediscovery: Rediscovery, *, from_training: bool = True) -> str:
    """The answer in words."""
    if rediscovery.is_same_network:
        return f"it rediscovers {name}: it is that network"
    kind, where = (
        ("training", "under the same proxy") if from_training else ("measurement", "measured alike")
    )
    verdict = {
        True: f"it rediscovers {name}: {where} its reward is at least as high",
        False: f"it does not reach {name}: {where} its reward is lower",
        None: f"whether it rediscovers {name} can't be told",
    }[rediscovery.is_rediscovered]
    difference_text = (
        f"its mean reward is {abs(rediscovery.reward_difference):.4f} "
        f"{'above' if rediscovery.reward_difference >= 0 else 'below'}"
    )
    if math.isinf(rediscovery.ci_low):
        return f"{verdict}; {difference_text}, and one {kind} each does not say how sure that is"
    if rediscovery.ci_high - rediscovery.ci_low < ROUNDING_TOLERANCE:
        return f"{verdict}; {difference_text}, with no noise between {kind}s"
    return (
        f"{verdict}; {difference_text} (95% of the difference: {rediscovery.ci_low:+.4f} "
        f"to {rediscovery.ci_high:+.4f})"
    )
