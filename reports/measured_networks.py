"""An index of all networks that a run has measured, each with a name.

`phinas choose` selects from it, and a name such as `trial-17` stands for the network in other
commands (`RUN:trial-17`, which `named_network` reads). Scores are comparable only among networks
that were measured in the same way, so every network belongs to one kind of measurement.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from phinas.experiment.artifacts.trained_weights import SavedWeights
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.reports.named_network import control_name, make_grid_spec
from phinas.reports.run_data import RunData
from phinas.space.cost import Cost
from phinas.space.network import ScalableNetwork

MeasurementKind = Literal["test", "grid", "finalists", "search"]
# The kinds from the most to the least reliable one.
MEASUREMENT_KINDS: dict[MeasurementKind, str] = {
    "test": "the family and its controls (test split)",
    "finalists": "the finalists of the search (validation split)",
    "grid": "the networks of the scaling search (validation split)",
    "search": "the trials of the search (validation split)",
}


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """A network of a run, and its measurement.

    Attributes:
        name: Such as "b1", "control-depth", "finalist-17", "grid-3" or "trial-17".
        kind: How it was measured.
        spec: The network.
        cost: Its exact cost.
        score: Mean over the seeds, 0 to 1.
        interval: 95% interval of the score for the number of images.
        num_seeds: Number of trainings.
        latency_ms: Latency that the run measured, in ms. None if it did not.
        weights: The training whose weights were saved. None if none were.
    """

    name: str
    kind: MeasurementKind
    spec: ScalableNetwork
    cost: Cost
    score: float
    interval: tuple[float, float]
    num_seeds: int = 1
    latency_ms: float | None = None
    weights: SavedWeights | None = None

    @property
    def size_mb(self) -> float:
        """Size of the weights in float32, in MB."""
        return 4 * self.cost.params / 1e6


def measured_networks(data: RunData) -> list[MeasuredNetwork]:
    """All networks that a run has measured, by kind of measurement and FLOPs."""
    networks = [
        *_members(data),
        *_controls(data),
        *_finalists(data),
        *_grid_members(data),
        *_trials(data),
    ]
    kinds = list(MEASUREMENT_KINDS)
    return sorted(networks, key=lambda item: (kinds.index(item.kind), item.cost.flops))


def _members(data: RunData) -> Iterable[MeasuredNetwork]:
    for row in data.tested_members:
        spec = row.member.spec
        result = row.result
        yield MeasuredNetwork(
            row.member.name,
            "test",
            spec,
            spec.cost(),
            result.score,
            result.interval,
            len(result.scores),
            weights=row.record.weights if row.record else None,
        )


def _controls(data: RunData) -> Iterable[MeasuredNetwork]:
    for control in data.tested_controls:
        spec = control.network.spec
        result = control.result
        yield MeasuredNetwork(
            control_name(control.record),
            "test",
            spec,
            spec.cost(),
            result.score,
            result.interval,
            len(result.scores),
        )


def _finalists(data: RunData) -> Iterable[MeasuredNetwork]:
    measurements = _measurement_by_network(data.trial_records["finalists"])
    trials = {trial.number: trial for trial in data.trials}
    for finalist in data.finalists:
        trial = trials.get(finalist.trial)
        if trial is not None:
            yield MeasuredNetwork(
                f"finalist-{trial.number}",
                "finalists",
                trial.spec,
                trial.cost,
                finalist.mean_score,
                _interval(finalist.mean_score, measurements.get(finalist.network_id)),
                len(finalist.scores),
                trial.latency_ms,
            )


def _grid_members(data: RunData) -> Iterable[MeasuredNetwork]:
    if data.race is None or data.baseline_spec is None:
        return
    measurements = _measurement_by_network(data.trial_records["scaling"])
    for number, member in enumerate(data.race.members, start=1):
        spec = make_grid_spec(data.baseline_spec, member)
        # a baseline that was replaced after the race gives another network
        if member.score is not None and spec.network_id == member.network_id:
            yield MeasuredNetwork(
                f"grid-{number}",
                "grid",
                spec,
                spec.cost(),
                member.score,
                _interval(member.score, measurements.get(member.network_id)),
                len(member.scores),
            )


def _trials(data: RunData) -> Iterable[MeasuredNetwork]:
    for trial in data.trials:
        yield MeasuredNetwork(
            f"trial-{trial.number}",
            "search",
            trial.spec,
            trial.cost,
            trial.score,
            trial.measurement.interval(),
            latency_ms=trial.latency_ms,
        )


def _measurement_by_network(records: Iterable[TrialRecord]) -> dict[str, Measurement]:
    """One complete measurement of each network."""
    return {
        record.network_id: record.measurement
        for record in records
        if record.is_complete and record.network_id is not None
    }


def _interval(score: float, measurement: Measurement | None) -> tuple[float, float]:
    """The interval of a mean over seeds. All seeds share the images, so it is as wide as that of
    one of them; (0, 1) without a measurement.
    """
    if measurement is None:
        return 0.0, 1.0
    low, high = measurement.interval()
    return (
        max(0.0, score + low - measurement.score),
        min(1.0, score + high - measurement.score),
    )
