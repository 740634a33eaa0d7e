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

from phinas.experiment.errors import InputError, NothingFound
from phinas.experiment.executors import Executor
from phinas.experiment.job_list import Outcome, Task, paired_accuracies, reasons_of
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.experiment.seeds import seed_of
from phinas.experiment.statistics.paired_comparison import NOISELESS, difference
from phinas.experiment.trial_store import Ledger
from phinas.nas.cost_constraint import Gate
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.latency import Latencies
from phinas.nas.search import SearchResult, gate_of
from phinas.nas.trial import LATENCY, Trial, price_of
from phinas.space.cost import cost
from phinas.space.loading import load_spec
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import YamlError
from phinas.training.timing.latency import Stopwatch

AUTO = "efficientnet_b0"
_OF_THE_SEARCH = ("channels", "classes", "resolution", "dropout", "drop_path", "bn_momentum")
_MOST = 4  # times the FLOPs of the dearest trial: beyond it `auto` would cost more than it tells


@dataclass(frozen=True, slots=True)
class Reference:
    """spec: for the images of the search; None where it is left out, for the reason `why_not`."""

    name: str
    spec: ArchSpec | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
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


def resolve(
    section: SearchSection, gate: Gate, base: ArchSpec, *, dearest: float
) -> Reference | None:
    """What `search.reference` means for the images and the resolution of `base`; None for `none`.

    dearest: FLOPs of the dearest trial. Raises SpecError or YamlError for a name that is none.
    """
    if section.reference == "none":
        return None
    source = AUTO if section.reference == "auto" else section.reference
    given = load_spec(source)
    name = Path(source).name  # of a file without its folders
    try:
        spec = replace(given, **{name: getattr(base, name) for name in _OF_THE_SEARCH})
    except SpecError as error:
        return Reference(name, None, f"it can't be made for the images of this search ({error})")
    flops = cost(spec).flops
    if section.reference == "auto" and not gate.admits(flops):
        return Reference(
            name,
            None,
            f"its {flops:,} FLOPs at {base.resolution} pixels are outside search.min_flops, "
            "max_flops",
        )
    if section.reference == "auto" and flops > _MOST * dearest:
        return Reference(
            name,
            None,
            f"its {flops:,} FLOPs at {base.resolution} pixels are over {_MOST} times those of the "
            "dearest trial; "
            f"search.reference: {name} takes it all the same",
        )
    return Reference(name, spec)


class Beside:
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
        dearest = max(trial.cost.flops for trial in result.trials)
        self._reference = resolve(section, gate_of(section), space.base, dearest=dearest)
        self._again: list[Task] = []
        self._short: Task | None = None
        self._trial: Trial | None = None  # the search may have measured it
        self._latency: float | None = None
        spec = self._reference.spec if self._reference else None
        if spec is None:
            return

        def task(recipe: Recipe, training_seed: int) -> Task:
            assert self._reference is not None
            facts = {
                "spec_id": spec.spec_id,
                "flops": cost(spec).flops,
                "reference": self._reference.name,
            }
            return Task(evaluator.job(spec, recipe, training_seed), facts | {"seed": training_seed})

        self._again = [task(section.finalist_recipe, training_seed) for training_seed in seeds]
        self._trial = next(
            (trial for trial in result.trials if trial.spec.spec_id == spec.spec_id), None
        )
        if self._trial is None:
            self._short = task(section.recipe, seed_of(seed, "search"))

    @property
    def tasks(self) -> list[Task]:
        return [*self._again, *([self._short] if self._short else [])]

    def time(self, ledger: Ledger, stopwatch: Stopwatch | None, executor: Executor) -> None:
        """Where latency is the cost: time the reference, or read its time from `ledger`. No job may
        be under way.
        """
        if (
            self._reward.metric != "latency"
            or self._reference is None
            or self._reference.spec is None
        ):
            return
        if self._trial is not None:
            self._latency = self._trial.latency_ms
        elif stopwatch is None:
            raise ValueError("a reference whose cost is latency needs a stopwatch")
        else:
            try:
                self._latency = Latencies(ledger, stopwatch).time_apart(
                    self._reference.spec, executor
                )
            except NothingFound as error:
                self._leave_out(str(error))

    def _leave_out(self, why_not: str) -> None:
        assert self._reference is not None
        self._reference = Reference(self._reference.name, None, why_not)
        self._again, self._short = [], None

    def settle(self, outcomes: Mapping[str, Outcome]) -> Measured | Reference | None:
        """What came of its trainings: measured, or left out with the reason."""
        found = paired_accuracies(self._again, outcomes)
        if self._again and not found:
            self._leave_out(
                reasons_of({task.job.key: outcomes[task.job.key] for task in self._again})
            )
        if self._reference is None or self._reference.spec is None:
            return self._reference
        spec = self._reference.spec
        measured = self._trial.measurement if self._trial else None
        if self._short is not None:
            measured = outcomes[self._short.job.key].measurement
        price = self._latency or price_of(spec, self._reward.metric)
        accuracies = found[spec.spec_id]
        return Measured(
            self._reference.name,
            spec,
            accuracies,
            [self._reward(value, price) for value in accuracies],
            measured.accuracy if measured else None,
            self._reward(measured.accuracy, price) if measured else None,
            self._latency,
        )


@dataclass(frozen=True, slots=True)
class Rediscovery:
    """ahead: by how much the chosen network's mean reward is above the reference's; low, high: the
    95% interval of that (infinite where one training each tells nothing). The chosen one is the
    best of `finalists`, which widens the interval."""

    same: bool
    ahead: float
    low: float
    high: float

    @property
    def reached(self) -> bool | None:
        """Whether the chosen network has at least the reward of the reference; None: it can't be
        told.
        """
        return True if self.low >= 0 else False if self.high < 0 else None


def rediscovery(
    rewards: Mapping[str, Sequence[float]], chosen: str, measured: Measured
) -> Rediscovery:
    """rewards: of the finalists by spec_id."""
    name = measured.spec.spec_id
    if name == chosen:
        return Rediscovery(True, 0.0, 0.0, 0.0)
    table = {**rewards, name: measured.rewards}
    return Rediscovery(False, *difference(table, chosen, name, candidates=len(rewards)))


def to_dict(measured: Measured, found: Rediscovery, *, trained: bool = True) -> dict[str, Any]:
    """What `search/baseline.yaml` holds of a reference that was measured. trained: by a training,
    not by a look-up.
    """
    spec = measured.spec
    return {
        "name": measured.name,
        "spec_id": spec.spec_id,
        "flops": cost(spec).flops,
        "params": cost(spec).params,
        "activations": cost(spec).activations,
        LATENCY: measured.latency_ms,
        "search_accuracy": measured.search_accuracy,
        "search_reward": measured.search_reward,
        "accuracies": measured.accuracies,
        "reward": sum(measured.rewards) / len(measured.rewards),
        "chosen_ahead_by": found.ahead,
        "interval": [found.low, found.high] if math.isfinite(found.low) else None,
        "rediscovered": found.reached,
        "why": explain(measured.name, found, trained=trained),
    }


def explain(name: str, found: Rediscovery, *, trained: bool = True) -> str:
    """The answer in words."""
    if found.same:
        return f"it rediscovers {name}: it is that network"
    kind, where = (
        ("training", "under the same proxy") if trained else ("measurement", "measured alike")
    )
    answer = {
        True: f"it rediscovers {name}: {where} its reward is at least as high",
        False: f"it does not reach {name}: {where} its reward is lower",
        None: f"whether it rediscovers {name} can't be told",
    }[found.reached]
    by = f"its mean reward is {abs(found.ahead):.4f} {'above' if found.ahead >= 0 else 'below'}"
    if math.isinf(found.low):
        return f"{answer}; {by}, and one {kind} each does not say how sure that is"
    if found.high - found.low < NOISELESS:
        return f"{answer}; {by}, with no noise between {kind}s"
    return f"{answer}; {by} (95% of the difference: {found.low:+.4f} to {found.high:+.4f})"
