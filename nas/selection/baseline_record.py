"""Conversion of a selected baseline to `search/baseline.yaml`."""

import math

from phinas.experiment.artifacts.baseline_file import (
    BaselineFile,
    ExcludedReference,
    FinalistRecord,
    SelectionRecord,
)
from phinas.nas.objective import make_reward_record
from phinas.nas.pareto import pareto_front
from phinas.nas.search import SearchResult
from phinas.nas.selection.baseline import SelectedBaseline
from phinas.nas.selection.finalists import Finalist
from phinas.nas.selection.rediscovery import MeasuredReference, make_reference_record
from phinas.space.network import ScalableNetwork


def make_baseline_file(selected: SelectedBaseline, result: SearchResult) -> BaselineFile:
    """The file of a baseline that a search selected."""
    trial = selected.trial
    return BaselineFile(
        spec=trial.spec,
        network_id=trial.spec.network_id,
        flops=trial.cost.flops,
        params=trial.cost.params,
        latency_ms=trial.latency_ms,
        source=None,
        selection=_make_selection_record(selected, result),
    )


def make_user_baseline_file(spec: ScalableNetwork, source: str) -> BaselineFile:
    """The file of a baseline that the user supplied.

    Args:
        spec: The network, for the images of the run.
        source: The preset or the spec file that the user named.
    """
    cost = spec.cost()
    return BaselineFile(
        spec=spec,
        network_id=spec.network_id,
        flops=cost.flops,
        params=cost.params,
        latency_ms=None,
        source=source,
        selection=None,
    )


def _make_selection_record(selected: SelectedBaseline, result: SearchResult) -> SelectionRecord:
    reference = selected.reference
    return SelectionRecord(
        trial=selected.trial.number,
        metric=selected.trial.measurement.metric,
        from_training=selected.from_training,
        num_trials=len(result.trials),
        searched_front=result.pareto,
        pareto_trials=tuple(
            trial.number for trial in pareto_front(result.trials, result.reward.cost_metric)
        ),
        reward=make_reward_record(result.reward, result.exponent_estimate),
        outcome=selected.outcome,
        finalists=tuple(
            _make_finalist_record(finalist, selected)
            for finalist in selected.finalists
            if finalist.trial.spec.network_id in selected.scores
        ),
        margin=_finite_or_none(selected.comparison.margin),
        probability_of_best=_finite_or_none(selected.probability_of_best),
        reference=make_reference_record(
            reference, selected.rewards, selected=selected.trial.spec.network_id
        )
        if isinstance(reference, MeasuredReference)
        else None,
        excluded_reference=reference if isinstance(reference, ExcludedReference) else None,
        space_exhausted=result.space_exhausted,
        num_unscalable=selected.num_unscalable,
    )


def _make_finalist_record(finalist: Finalist, selected: SelectedBaseline) -> FinalistRecord:
    trial, network_id = finalist.trial, finalist.trial.spec.network_id
    return FinalistRecord(
        network_id=network_id,
        trial=trial.number,
        flops=trial.cost.flops,
        latency_ms=trial.latency_ms,
        search_reward=trial.reward,
        expected_score=finalist.expected_score,
        scores=tuple(selected.scores[network_id]),
        reward=selected.comparison.means[network_id],
        tied_with_selected=network_id in selected.comparison.ties,
    )


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
