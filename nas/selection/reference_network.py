"""The reference: a published network that the baseline is compared with.

It is trained with the finalists' recipe, seeds, resolution and classes, and compared by the same
reward. Settings that act in training only (dropout, stochastic depth, momentum of batch
normalization) are those of the searched networks, because the published momentum of EfficientNet-B0
needs thousands of steps. The search has rediscovered the reference if the baseline reaches its
reward. The two networks may differ.

`search.reference` names it. `auto` is EfficientNet-B0. If that is too large for the search, it is
excluded with a reason. A user's function gets no network that was not asked for: there `auto` is
none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phinas.experiment.artifacts.baseline_file import (
    ExcludedReference,
    ExclusionCase,
)
from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import Executor
from phinas.experiment.job_list import Outcome, Task, failure_reasons, scores_by_network
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators import find_evaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.latency import LatencyCache
from phinas.nas.search import SearchResult, make_cost_constraint
from phinas.nas.selection.rediscovery import MeasuredReference
from phinas.nas.trial import Trial, analytic_cost
from phinas.space.loading import load_spec
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import YamlError
from phinas.training.timing.latency import LatencyTimer

AUTO_REFERENCE = "efficientnet_b0"
_INHERITED_FIELDS = ("channels", "classes", "resolution", "dropout", "drop_path", "bn_momentum")
_MAX_COST_RATIO = 4.0  # limit of `auto`: its FLOPs divided by those of the largest trial


@dataclass(frozen=True, slots=True)
class ReferenceNetwork:
    """A reference to train.

    Attributes:
        name: Its name in the configuration.
        spec: The network for the images of the search.
    """

    name: str
    spec: ArchSpec


def require_reference(name: str) -> None:
    """Raises InputError if the value of `search.reference` is not the name of a network."""
    if name in ("none", "auto"):
        return
    try:
        load_spec(name, field="search.reference")
    except (SpecError, YamlError) as error:
        raise InputError(f"{error}; or use none or auto") from None


def resolve_reference(
    section: SearchSection,
    cost_constraint: CostConstraint,
    base: ArchSpec,
    *,
    max_trial_flops: float,
) -> ReferenceNetwork | ExcludedReference | None:
    """Load the network of `search.reference` and adapt it to the images of the search.

    Args:
        section: The configuration of the search.
        cost_constraint: The cost limits, which `auto` has to satisfy.
        base: The base network of the space, which has the channels, classes and resolution.
        max_trial_flops: FLOPs of the largest trial, by which the size of `auto` is limited.

    Returns:
        None if the configuration is `none`, or if it is `auto` and the evaluator is a user's
        function, which may not know the network.

    Raises:
        SpecError: The name is not that of a network.
        YamlError: The spec file is damaged.
    """
    is_auto = section.reference == "auto"
    if section.reference == "none" or (
        is_auto and not find_evaluator(section.evaluator).scores_published_networks
    ):
        return None
    source = AUTO_REFERENCE if is_auto else section.reference
    published_spec = load_spec(source, field="search.reference")
    name = Path(source).name  # a spec file without its folders
    if published_spec.total_stride > base.resolution:
        reason = (
            f"its strides reduce the resolution {published_spec.total_stride} times, but this "
            f"search has {base.resolution} px"
        )
        return ExcludedReference(name=name, case="not_buildable", reason=reason)
    try:
        spec = replace(published_spec, **{name: getattr(base, name) for name in _INHERITED_FIELDS})
    except SpecError as error:
        return ExcludedReference(name=name, case="not_buildable", reason=str(error))
    flops = spec.cost().flops
    if is_auto and not cost_constraint.is_satisfied(flops):
        return ExcludedReference(
            name=name, case="outside_cost_limits", flops=flops, resolution=base.resolution
        )
    if is_auto and flops > _MAX_COST_RATIO * max_trial_flops:
        return ExcludedReference(
            name=name,
            case="too_large",
            flops=flops,
            resolution=base.resolution,
            max_cost_ratio=_MAX_COST_RATIO,
        )
    return ReferenceNetwork(name, spec)


def find_reference(
    result: SearchResult, section: SearchSection, space: SearchSpace
) -> ReferenceNetwork | ExcludedReference | None:
    """The reference of a finished search. Errors and the result are those of `resolve_reference`.

    Args:
        result: The result of the search.
        section: Its configuration.
        space: Its space, adapted to the images.
    """
    max_trial_flops = max(trial.cost.flops for trial in result.trials)
    return resolve_reference(
        section, make_cost_constraint(section), space.base, max_trial_flops=max_trial_flops
    )


class ReferenceTraining:
    """The trainings of a reference.

    It is trained with the finalists' recipe and seeds, and once with the recipe of the search, for
    the figure of the trials.
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
        """Prepare the trainings.

        Args:
            result: The result of the search.
            section: Its configuration.
            space: Its space, adapted to the images.
            evaluator: Makes the jobs.
            seed: Seed of the run.
            seeds: Seeds of the finalists' trainings.
        """
        self._reward = result.reward
        self._reference = find_reference(result, section, space)
        self._finalist_tasks: list[Task] = []
        self._search_task: Task | None = None
        self._trial: Trial | None = None  # the trial of the search with the same network
        self._latency_ms: float | None = None
        reference, choices = self._reference, None
        if not isinstance(reference, ReferenceNetwork):
            return
        if evaluator.uses_choices:
            try:
                choices = encode(space, reference.spec)
            except SpecError as error:
                self._exclude(
                    "not_in_space", f"the evaluator scores choices of the search space, and {error}"
                )
                return
        self._finalist_tasks = [
            _make_task(reference, evaluator, section.finalist_recipe, training_seed, choices)
            for training_seed in seeds
        ]
        network_id = reference.spec.network_id
        self._trial = next(
            (trial for trial in result.trials if trial.spec.network_id == network_id), None
        )
        if self._trial is None:
            self._search_task = _make_task(
                reference, evaluator, section.recipe, derive_seed(seed, "search"), choices
            )

    @property
    def tasks(self) -> list[Task]:
        """The jobs to run. Empty without a reference."""
        return [*self._finalist_tasks, *([self._search_task] if self._search_task else [])]

    def measure_latency(
        self, trial_store: TrialStore, latency_timer: LatencyTimer | None, executor: Executor
    ) -> None:
        """Time the reference, or read its recorded timing. Does nothing if latency is not the cost.

        A reference that cannot be timed is excluded. No job may be running.
        """
        if self._reward.cost_metric != "latency" or not isinstance(
            self._reference, ReferenceNetwork
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
                self._exclude("not_timed", str(error))

    def _exclude(self, case: ExclusionCase, reason: str) -> None:
        assert self._reference is not None
        self._reference = ExcludedReference(name=self._reference.name, case=case, reason=reason)
        self._finalist_tasks, self._search_task = [], None

    def collect_result(
        self, outcomes: Mapping[str, Outcome]
    ) -> MeasuredReference | ExcludedReference | None:
        """The measured reference, or why it was not measured. None if none was requested."""
        paired = scores_by_network(self._finalist_tasks, outcomes)
        if self._finalist_tasks and not paired:
            self._exclude(
                "training_failed",
                failure_reasons(
                    {task.job.key: outcomes[task.job.key] for task in self._finalist_tasks}
                ),
            )
        if not isinstance(self._reference, ReferenceNetwork):
            return self._reference
        spec = self._reference.spec
        search_measurement = self._trial.measurement if self._trial else None
        if self._search_task is not None:
            search_measurement = outcomes[self._search_task.job.key].measurement
        reference_cost = self._latency_ms or analytic_cost(spec, self._reward.cost_metric)
        scores = paired[spec.network_id]
        return MeasuredReference(
            self._reference.name,
            spec,
            scores,
            [self._reward(value, reference_cost) for value in scores],
            search_measurement.score if search_measurement else None,
            self._reward(search_measurement.score, reference_cost) if search_measurement else None,
            self._latency_ms,
        )


def _make_task(
    reference: ReferenceNetwork,
    evaluator: Evaluator,
    recipe: Recipe,
    training_seed: int,
    choices: Choices | None,
) -> Task:
    attributes = {
        "network_id": reference.spec.network_id,
        "flops": reference.spec.cost().flops,
        "reference": reference.name,
        "seed": training_seed,
    }
    job = evaluator.make_job(reference.spec, recipe, training_seed, choices=choices)
    return Task(job, attributes)
