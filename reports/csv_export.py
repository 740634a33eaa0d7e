"""The run's data as tables, one CSV each, for whoever wants to draw them otherwise: accuracies are
fractions, nothing is rounded.

trials.csv has a row for each trial of the search, failed, pruned and running ones too;
finalists.csv one for each finalist, and one for the published network beside them; grid.csv one for
each trained member of the scaling grid; family.csv one for each member of the family (accuracy is
measured; what the curve says of a member that was not trained is in columns of its own);
controls.csv one for each other way to scale that the family is held against. An empty table has its
head.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from phinas.experiment.trial_store import TrialRecord
from phinas.reports.run_data import RunData
from phinas.space.spec import ArchSpec

_COST_COLUMNS = ("flops", "params", "activations")
_MEASUREMENT_COLUMNS = (
    "accuracy",
    "mean_class_accuracy",
    "top5",
    "loss",
    "split",
    "images",
    "epochs",
    "stop_reason",
    "train_seconds",
    "images_per_second",
    "micro_batch_size",
    "peak_memory_bytes",
    "device",
    "seed",
)
_INTEGER_COLUMNS = (
    "flops",
    "params",
    "activations",
    "images",
    "epochs",
    "micro_batch_size",
    "peak_memory_bytes",
    "seed",
    "proposal",
    "num_rejected",
    "attempts",
    "trial",
)


def make_trials_dataframe(run_data: RunData) -> pd.DataFrame:
    front_numbers = {trial.number for trial in run_data.pareto_front}
    finalists = {row["trial"] for row in run_data.finalists}
    rows = []
    for row in run_data.trial_records["search"]:
        values = _make_trial_columns(row)
        flags = {
            "on_front": row.number in front_numbers,
            "finalist": row.number in finalists,
            "baseline": row.number == run_data.baseline_trial,
        }
        rows.append(
            values | flags | {f"choice.{name}": value for name, value in sorted(row.params.items())}
        )
    columns = [
        "trial",
        "proposal",
        "state",
        "spec_id",
        *_COST_COLUMNS,
        "reward",
        *_MEASUREMENT_COLUMNS,
        "num_rejected",
        "attempts",
        "reason",
    ]
    return _make_dataframe(rows, [*columns, "on_front", "finalist", "baseline"])


def _make_trial_columns(row: TrialRecord) -> dict[str, Any]:
    attributes = row.user_attrs
    measurement = attributes.get("measurement", {}) if row.is_complete or row.is_pruned else {}
    if measurement.get("per_class_accuracy"):
        measurement = measurement | {
            "mean_class_accuracy": _compute_mean(measurement["per_class_accuracy"])
        }
    values = {
        name: attributes.get(name)
        for name in ("proposal", "spec_id", *_COST_COLUMNS, "num_rejected", "attempts", "reason")
    }
    values |= _make_latency_columns(attributes)
    return {"trial": row.number, "state": row.state.name.lower(), "reward": row.value, **values} | {
        name: measurement.get(name) for name in _MEASUREMENT_COLUMNS
    }


def _make_latency_columns(attributes: dict[str, Any]) -> dict[str, Any]:
    """Median and quartiles of the timed inferences, where they were timed."""
    if "latency_ms" not in attributes:
        return {}
    low, high = attributes["latency_quartiles_ms"]
    return {
        "latency_ms": attributes["latency_ms"],
        "latency_ms_quartile_1": low,
        "latency_ms_quartile_3": high,
    }


def make_finalists_dataframe(run_data: RunData) -> pd.DataFrame:
    rows = []
    for row in run_data.finalists:
        values = {
            name: row[name]
            for name in ("spec_id", "trial", "flops", "search_reward", "reward", "tied_with_chosen")
        }
        values |= {
            "baseline": row["trial"] == run_data.baseline_trial,
            "accuracy": _compute_mean(row["accuracies"]),
        }
        values["expected_accuracy"] = row.get("expected_accuracy")
        rows.append(values | _make_seed_columns(row["accuracies"]))
    if (reference := run_data.reference) is not None:
        values = {name: reference[name] for name in ("spec_id", "flops", "search_reward", "reward")}
        values |= {
            "reference": reference["name"],
            "baseline": False,
            "accuracy": _compute_mean(reference["accuracies"]),
        }
        rows.append(values | _make_seed_columns(reference["accuracies"]))
    columns = [
        "spec_id",
        "trial",
        "flops",
        "search_reward",
        "reward",
        "accuracy",
        "tied_with_chosen",
        "baseline",
    ]
    return _make_dataframe(rows, columns)


def make_grid_dataframe(run_data: RunData) -> pd.DataFrame:
    columns = ["spec_id"]
    for name in ("alpha", "beta", "gamma"):
        columns += [f"{name}_low", f"{name}_high"]
    columns += [
        "resolution",
        "depths",
        "widths",
        "flops",
        "ratio",
        "accuracy",
        "adjusted_accuracy",
        "accuracy_gap",
        "accuracy_gap_low",
        "accuracy_gap_high",
    ]
    columns += ["status", "tied", "winner", "short_run_accuracy"]
    rows = []
    for row in run_data.coefficients["members"] if run_data.coefficients else ():
        values = {name: row[name] for name in columns if name in row}
        for name in ("alpha", "beta", "gamma"):
            values[f"{name}_low"], values[f"{name}_high"] = row[name]
        values |= {"depths": _join_numbers(row["depths"]), "widths": _join_numbers(row["widths"])}
        values["accuracy_gap_low"], values["accuracy_gap_high"] = row["accuracy_gap_interval"] or (
            None,
            None,
        )
        rows.append(values | _make_seed_columns(row["accuracies"]))
    return _make_dataframe(rows, columns)


def make_family_dataframe(run_data: RunData) -> pd.DataFrame:
    columns = [
        "name",
        "phi",
        "spec_id",
        "depth_factor",
        "width_factor",
        "resolution_factor",
        "depths",
        "widths",
        "resolution",
    ]
    columns += [
        "dropout",
        "flops",
        "ratio",
        "params",
        "activations",
        "validated",
        "accuracy",
        "low",
        "high",
        "images",
    ]
    columns += ["predicted", "predicted_low", "predicted_high", "extrapolation", "skip_reason"]
    rows = []
    for row in run_data.members:
        spec = ArchSpec.from_dict(row["spec"])
        values = {
            name: row.get(name)
            for name in ("name", "phi", "spec_id", "flops", "ratio", "params", "activations")
        }
        values |= {name: row.get(name) for name in ("accuracy", "images", "skip_reason")} | {
            "validated": bool(row.get("validated"))
        }
        values |= compute_scale_factors(run_data, row["phi"]) | {
            "resolution": spec.resolution,
            "dropout": spec.dropout,
        }
        values |= {
            "depths": _join_numbers([s.depth for s in spec.stages]),
            "widths": _join_numbers([s.width for s in spec.stages]),
        }
        values["low"], values["high"] = row.get("interval", (None, None))
        if not values["validated"] and (prediction := row.get("prediction")):
            values |= {
                "predicted": prediction["accuracy"],
                "extrapolation": prediction["extrapolation"],
            }
            values["predicted_low"], values["predicted_high"] = prediction["interval"]
        rows.append(values | _make_seed_columns(row.get("accuracies", ())))
    return _make_dataframe(rows, columns)


def make_controls_dataframe(run_data: RunData) -> pd.DataFrame:
    columns = [
        "name",
        "label",
        "family_member",
        "phi",
        "alpha",
        "beta",
        "gamma",
        "spec_id",
        "flops",
        "ratio",
        "params",
        "validated",
    ]
    columns += [
        "accuracy",
        "low",
        "high",
        "images",
        "accuracy_gap",
        "accuracy_gap_low",
        "accuracy_gap_high",
        "flops_adjustment",
        "verdict",
        "skip_reason",
    ]
    rows = []
    for row in run_data.controls:
        values = {name: row.get(name) for name in columns}
        values["low"], values["high"] = row.get("interval") or (None, None)
        values["accuracy_gap_low"], values["accuracy_gap_high"] = row.get(
            "accuracy_gap_interval"
        ) or (None, None)
        rows.append(values | _make_seed_columns(row.get("accuracies") or ()))
    return _make_dataframe(rows, columns)


def compute_scale_factors(run_data: RunData, phi: float) -> dict[str, float | None]:
    """alpha^phi, beta^phi, gamma^phi: what the rule asks for, before rounding."""
    coefficients = run_data.coefficients
    names = {"depth_factor": "alpha", "width_factor": "beta", "resolution_factor": "gamma"}
    return {
        factor: coefficients[name] ** phi if coefficients else None
        for factor, name in names.items()
    }


def _compute_mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _join_numbers(values: list[int]) -> str:
    return " ".join(str(value) for value in values)


def _make_seed_columns(accuracies: Any) -> dict[str, float]:
    return {f"accuracy_seed_{number}": value for number, value in enumerate(accuracies, start=1)}


def _make_dataframe(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Columns of `head` first, then what only some rows have; whole numbers stay whole where some
    are missing.
    """
    extra_columns = dict.fromkeys(name for row in rows for name in row if name not in columns)
    dataframe = pd.DataFrame(rows, columns=[*columns, *extra_columns])
    return dataframe.astype({name: "Int64" for name in _INTEGER_COLUMNS if name in dataframe})


CSV_TABLES: dict[str, Callable[[RunData], pd.DataFrame]] = {
    "trials": make_trials_dataframe,
    "finalists": make_finalists_dataframe,
    "grid": make_grid_dataframe,
    "family": make_family_dataframe,
    "controls": make_controls_dataframe,
}
