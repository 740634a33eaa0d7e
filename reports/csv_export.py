"""The data of a run as CSV tables: scores are fractions, nothing is rounded.

trials.csv: a row for each trial of the search, also failed, pruned and running ones.
finalists.csv: a row for each finalist, and one for the reference network.
grid.csv: a row for each compared network.
family.csv: a row for each member; predictions have columns of their own.
controls.csv: a row for each control; difference is the score of the member minus the control's.
curves.csv: a row for each epoch of each training, of all stages.
A table without rows has its header. `phinas.load` returns the same tables as data frames, and
`phinas.loaded_run` describes their columns.
"""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from phinas.experiment.artifacts.baseline_file import FinalistRecord, ReferenceRecord
from phinas.experiment.artifacts.coefficients_file import RacedMember
from phinas.experiment.artifacts.validation_file import ControlRecord, TestResult
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.nas.trial import TrialAttributes
from phinas.reports.controls import make_control_label
from phinas.reports.family_rows import ReportMember, compute_scale_factors, stage_dimensions
from phinas.reports.frame_columns import make_dataframe
from phinas.reports.learning_curves import make_curves_dataframe
from phinas.reports.run_data import RunData
from phinas.reports.sentences.controls import describe_missing_verdict
from phinas.scaling_search.validation.skip_reason import describe_skip
from phinas.space.spec import ArchSpec

Row = dict[str, Any]
_COST_COLUMNS = ("flops", "params", "activations")
_SCORE_COLUMNS = ("score", "metric", "balanced_accuracy", "top5", "loss", "split", "images")
_TRAINING_COLUMNS = ("epochs", "stop_reason", "train_seconds", "images_per_second")
_DEVICE_COLUMNS = ("micro_batch_size", "peak_memory_bytes", "device", "seed")
_TRIAL_COLUMNS = (
    *("trial", "proposal", "state", "network_id", *_COST_COLUMNS, "reward"),
    *(*_SCORE_COLUMNS, *_TRAINING_COLUMNS, *_DEVICE_COLUMNS),
    *("num_rejected", "attempts", "reason", "on_front", "finalist", "baseline"),
)
_FINALIST_COLUMNS = (
    *("network_id", "trial", "flops", "search_reward", "reward", "score", "tied_with_selected"),
    *("baseline", "expected_score"),
)
_GRID_COLUMNS = (
    *("network_id", "alpha_low", "alpha_high", "beta_low", "beta_high", "gamma_low", "gamma_high"),
    *("resolution", "depths", "widths", "flops", "ratio", "score", "adjusted_score"),
    *("score_gap", "score_gap_low", "score_gap_high", "status", "tied", "winner"),
    "probability_of_best",
    *("short_run_score", "num_diverged"),
)
_FAMILY_COLUMNS = (
    *("name", "phi", "network_id", "depth_factor", "width_factor", "resolution_factor"),
    *("depths", "widths", "resolution", "dropout", "flops", "ratio", "params", "activations"),
    *("validated", "score", "low", "high", "images"),
    *("predicted", "predicted_low", "predicted_high", "extrapolation", "skip_reason"),
)
_CONTROL_COLUMNS = (
    *("name", "label", "kind", "family_member", "phi", "alpha", "beta", "gamma", "network_id"),
    *("flops", "ratio", "params", "validated", "score", "low", "high", "images"),
    *("difference", "difference_low", "difference_high", "flops_adjustment", "verdict"),
    "skip_reason",
)


def make_trials_dataframe(run_data: RunData) -> pd.DataFrame:
    front_numbers = {trial.number for trial in run_data.pareto_front}
    finalists = {row.trial for row in run_data.finalists}
    rows = []
    for record in run_data.trial_records["search"]:
        flags = {
            "on_front": record.number in front_numbers,
            "finalist": record.number in finalists,
            "baseline": record.number == run_data.baseline_trial,
        }
        choices = {f"choice.{name}": value for name, value in sorted(record.params.items())}
        rows.append(_make_trial_row(record) | flags | choices)
    return make_dataframe(rows, _TRIAL_COLUMNS)


def _make_trial_row(record: TrialRecord) -> Row:
    attributes = TrialAttributes.from_record(record)
    row: Row = {
        "trial": record.number,
        "proposal": attributes.proposal,
        "state": record.state.name.lower(),
        "network_id": attributes.network_id,
        "flops": attributes.flops,
        "params": attributes.params,
        "activations": attributes.activations,
        "reward": record.value,
        "num_rejected": attributes.num_rejected,
        "attempts": record.attempts or None,
        "reason": record.reason or None,
    }
    if attributes.latency is not None:
        low, high = attributes.latency.latency_quartiles_ms
        row |= {
            "latency_ms": attributes.latency.latency_ms,
            "latency_ms_quartile_1": low,
            "latency_ms_quartile_3": high,
        }
    if record.is_complete or record.is_pruned:
        row |= _make_measurement_columns(record.measurement)
    return row


def _make_measurement_columns(measurement: Measurement) -> Row:
    names = (*_SCORE_COLUMNS, *_TRAINING_COLUMNS, *_DEVICE_COLUMNS)
    values: Row = {name: getattr(measurement, name, None) for name in names}
    scores = measurement.per_class_accuracy
    # empty where a field is not known
    optional = ("stop_reason", "micro_batch_size", "peak_memory_bytes")
    return (
        values
        | {"balanced_accuracy": fmean(scores) if scores else None}
        | {name: values[name] or None for name in optional}
    )


def make_finalists_dataframe(run_data: RunData) -> pd.DataFrame:
    rows = [_make_finalist_row(row, run_data.baseline_trial) for row in run_data.finalists]
    if run_data.reference is not None:
        rows.append(_make_reference_row(run_data.reference))
    return make_dataframe(rows, _FINALIST_COLUMNS)


def _make_finalist_row(row: FinalistRecord, baseline_trial: int | None) -> Row:
    values = {
        "network_id": row.network_id,
        "trial": row.trial,
        "flops": row.flops,
        "search_reward": row.search_reward,
        "reward": row.reward,
        "score": row.mean_score,
        "tied_with_selected": row.tied_with_selected,
        "baseline": row.trial == baseline_trial,
        "expected_score": row.expected_score,
    }
    return values | _make_seed_columns(row.scores)


def _make_reference_row(row: ReferenceRecord) -> Row:
    values = {
        "network_id": row.network_id,
        "flops": row.flops,
        "search_reward": row.search_reward,
        "reward": row.reward,
        "score": row.mean_score,
        "baseline": False,
        "reference": row.name,
    }
    return values | _make_seed_columns(row.scores)


def make_grid_dataframe(run_data: RunData) -> pd.DataFrame:
    members = run_data.race.members if run_data.race else ()
    return make_dataframe([_make_grid_row(row) for row in members], _GRID_COLUMNS)


def _make_grid_row(row: RacedMember) -> Row:
    values: Row = {
        "network_id": row.network_id,
        "resolution": row.resolution,
        "depths": _join_numbers(row.depths),
        "widths": _join_numbers(row.widths),
        "flops": row.flops,
        "ratio": row.ratio,
        "score": row.score,
        "adjusted_score": row.adjusted_score,
        "score_gap": row.score_gap,
        "status": row.status,
        "tied": row.tied,
        "winner": row.winner,
        "probability_of_best": row.probability_of_best,
        "short_run_score": row.short_run_score,
        "num_diverged": row.num_diverged,
    }
    for name, (low, high) in row.intervals.items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    values["score_gap_low"], values["score_gap_high"] = row.score_gap_interval or (None, None)
    return values | _make_seed_columns(row.scores)


def make_family_dataframe(run_data: RunData) -> pd.DataFrame:
    rows = [_make_family_row(row, run_data) for row in run_data.members]
    return make_dataframe(rows, _FAMILY_COLUMNS)


def _make_family_row(row: ReportMember, run_data: RunData) -> Row:
    member, record = row.member, row.record
    result = record.result if record else None
    depths, widths = stage_dimensions(member.spec)
    values: Row = {
        "name": member.name,
        "phi": member.phi,
        "network_id": member.network_id,
        "depths": _join_numbers(depths),
        "widths": _join_numbers(widths),
        "resolution": member.spec.resolution,
        "dropout": member.spec.dropout if isinstance(member.spec, ArchSpec) else None,
        "flops": member.flops,
        "ratio": member.ratio,
        "params": member.params,
        "activations": member.activations,
        "skip_reason": describe_skip(record.skip) if record and record.skip else None,
    }
    if record is not None and record.prediction is not None:
        prediction = record.prediction
        low, high = prediction.interval
        values |= {
            "predicted": prediction.score,
            "predicted_low": low,
            "predicted_high": high,
            "extrapolation": prediction.extrapolation,
        }
    return (
        values
        | compute_scale_factors(run_data.coefficients, run_data.baseline_spec, member.phi)
        | _make_result_columns(result)
    )


def make_controls_dataframe(run_data: RunData) -> pd.DataFrame:
    rows = [_make_control_row(record) for record in run_data.controls]
    return make_dataframe(rows, _CONTROL_COLUMNS)


def _make_control_row(record: ControlRecord) -> Row:
    factors, network, comparison = record.coefficients, record.network, record.comparison
    values: Row = {
        "name": record.name,
        "label": make_control_label(record),
        "kind": record.kind,
        "family_member": record.family_member,
        "phi": record.phi,
        "skip_reason": None
        if comparison and comparison.verdict
        else describe_missing_verdict(record),
    }
    if factors is not None:
        values |= {"alpha": factors.alpha, "beta": factors.beta, "gamma": factors.gamma}
    if network is not None:
        values |= {
            "network_id": network.network_id,
            "flops": network.flops,
            "ratio": network.ratio,
            "params": network.params,
        }
    if comparison is not None:
        values |= {
            "difference": comparison.difference,
            "flops_adjustment": comparison.flops_adjustment,
            "verdict": comparison.verdict,
        }
        values["difference_low"], values["difference_high"] = comparison.interval or (None, None)
    return values | _make_result_columns(record.result)


def _make_result_columns(result: TestResult | None) -> Row:
    if result is None:
        return {"validated": False}
    low, high = result.interval
    values = {
        "validated": True,
        "score": result.score,
        "low": low,
        "high": high,
        "images": result.images,
    }
    return values | _make_seed_columns(result.scores)


def _join_numbers(values: Sequence[int]) -> str:
    return " ".join(str(value) for value in values)


def _make_seed_columns(scores: Sequence[float]) -> dict[str, float]:
    return {f"score_seed_{number}": value for number, value in enumerate(scores, start=1)}


CSV_TABLES: dict[str, Callable[[RunData], pd.DataFrame]] = {
    "trials": make_trials_dataframe,
    "finalists": make_finalists_dataframe,
    "grid": make_grid_dataframe,
    "family": make_family_dataframe,
    "controls": make_controls_dataframe,
    "curves": make_curves_dataframe,
}
