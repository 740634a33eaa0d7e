"""The records as tables, one CSV each, for whoever wants to draw them otherwise: accuracies are
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

from phinas.experiment.trial_store import Row
from phinas.reports.run_data import Records
from phinas.space.spec import ArchSpec

_PRICES = ("flops", "params", "activations")
_MEASURED = (
    "accuracy",
    "mean_class_accuracy",
    "top5",
    "loss",
    "split",
    "images",
    "epochs",
    "ended",
    "train_seconds",
    "images_per_second",
    "micro_batch",
    "peak_bytes",
    "device",
    "seed",
)
_WHOLE = (
    "flops",
    "params",
    "activations",
    "images",
    "epochs",
    "micro_batch",
    "peak_bytes",
    "seed",
    "proposal",
    "refused",
    "attempts",
    "trial",
)


def trials_table(records: Records) -> pd.DataFrame:
    front = {trial.number for trial in records.front}
    finalists = {row["trial"] for row in records.finalists}
    rows = []
    for row in records.rows["search"]:
        facts = _trial(row)
        flags = {
            "on_front": row.number in front,
            "finalist": row.number in finalists,
            "baseline": row.number == records.chosen,
        }
        rows.append(
            facts | flags | {f"choice.{name}": value for name, value in sorted(row.params.items())}
        )
    head = [
        "trial",
        "proposal",
        "state",
        "spec_id",
        *_PRICES,
        "reward",
        *_MEASURED,
        "refused",
        "attempts",
        "reason",
    ]
    return _table(rows, [*head, "on_front", "finalist", "baseline"])


def _trial(row: Row) -> dict[str, Any]:
    facts = row.attributes
    measured = facts.get("measurement", {}) if row.done or row.pruned else {}
    if measured.get("by_class"):
        measured = measured | {"mean_class_accuracy": _mean(measured["by_class"])}
    known = {
        name: facts.get(name)
        for name in ("proposal", "spec_id", *_PRICES, "refused", "attempts", "reason")
    }
    known |= _latency(facts)
    return {"trial": row.number, "state": row.state.name.lower(), "reward": row.value, **known} | {
        name: measured.get(name) for name in _MEASURED
    }


def _latency(facts: dict[str, Any]) -> dict[str, Any]:
    """Median and quartiles of the timed inferences, where they were timed."""
    if "latency_ms" not in facts:
        return {}
    low, high = facts["latency_quartiles_ms"]
    return {
        "latency_ms": facts["latency_ms"],
        "latency_ms_quartile_1": low,
        "latency_ms_quartile_3": high,
    }


def finalists_table(records: Records) -> pd.DataFrame:
    rows = []
    for row in records.finalists:
        facts = {
            name: row[name]
            for name in ("spec_id", "trial", "flops", "search_reward", "reward", "tied_with_chosen")
        }
        facts |= {"baseline": row["trial"] == records.chosen, "accuracy": _mean(row["accuracies"])}
        facts["expected_accuracy"] = row.get("expected_accuracy")
        rows.append(facts | _by_seed(row["accuracies"]))
    if (found := records.reference) is not None:
        facts = {name: found[name] for name in ("spec_id", "flops", "search_reward", "reward")}
        facts |= {
            "reference": found["name"],
            "baseline": False,
            "accuracy": _mean(found["accuracies"]),
        }
        rows.append(facts | _by_seed(found["accuracies"]))
    head = [
        "spec_id",
        "trial",
        "flops",
        "search_reward",
        "reward",
        "accuracy",
        "tied_with_chosen",
        "baseline",
    ]
    return _table(rows, head)


def grid_table(records: Records) -> pd.DataFrame:
    head = ["spec_id"]
    for name in ("alpha", "beta", "gamma"):
        head += [f"{name}_low", f"{name}_high"]
    head += [
        "resolution",
        "depths",
        "widths",
        "flops",
        "ratio",
        "accuracy",
        "corrected",
        "behind",
        "behind_low",
        "behind_high",
    ]
    head += ["status", "tied", "winner", "brief_accuracy"]
    rows = []
    for row in records.coefficients["members"] if records.coefficients else ():
        facts = {name: row[name] for name in head if name in row}
        for name in ("alpha", "beta", "gamma"):
            facts[f"{name}_low"], facts[f"{name}_high"] = row[name]
        facts |= {"depths": _words(row["depths"]), "widths": _words(row["widths"])}
        facts["behind_low"], facts["behind_high"] = row["behind_interval"] or (None, None)
        rows.append(facts | _by_seed(row["accuracies"]))
    return _table(rows, head)


def family_table(records: Records) -> pd.DataFrame:
    head = [
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
    head += [
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
    head += ["predicted", "predicted_low", "predicted_high", "beyond", "why_not"]
    rows = []
    for row in records.members:
        spec = ArchSpec.from_dict(row["spec"])
        facts = {
            name: row.get(name)
            for name in ("name", "phi", "spec_id", "flops", "ratio", "params", "activations")
        }
        facts |= {name: row.get(name) for name in ("accuracy", "images", "why_not")} | {
            "validated": bool(row.get("validated"))
        }
        facts |= factors(records, row["phi"]) | {
            "resolution": spec.resolution,
            "dropout": spec.dropout,
        }
        facts |= {
            "depths": _words([s.depth for s in spec.stages]),
            "widths": _words([s.width for s in spec.stages]),
        }
        facts["low"], facts["high"] = row.get("interval", (None, None))
        if not facts["validated"] and (found := row.get("prediction")):
            facts |= {"predicted": found["accuracy"], "beyond": found["beyond"]}
            facts["predicted_low"], facts["predicted_high"] = found["interval"]
        rows.append(facts | _by_seed(row.get("accuracies", ())))
    return _table(rows, head)


def controls_table(records: Records) -> pd.DataFrame:
    head = [
        "name",
        "rule",
        "against",
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
    head += [
        "accuracy",
        "low",
        "high",
        "images",
        "behind",
        "behind_low",
        "behind_high",
        "correction",
        "verdict",
        "why_not",
    ]
    rows = []
    for row in records.controls:
        facts = {name: row.get(name) for name in head}
        facts["low"], facts["high"] = row.get("interval") or (None, None)
        facts["behind_low"], facts["behind_high"] = row.get("behind_interval") or (None, None)
        rows.append(facts | _by_seed(row.get("accuracies") or ()))
    return _table(rows, head)


def factors(records: Records, phi: float) -> dict[str, float | None]:
    """alpha^phi, beta^phi, gamma^phi: what the rule asks for, before rounding."""
    found = records.coefficients
    names = {"depth_factor": "alpha", "width_factor": "beta", "resolution_factor": "gamma"}
    return {factor: found[name] ** phi if found else None for factor, name in names.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _words(values: list[int]) -> str:
    return " ".join(str(value) for value in values)


def _by_seed(accuracies: Any) -> dict[str, float]:
    return {f"accuracy_seed_{number}": value for number, value in enumerate(accuracies, start=1)}


def _table(rows: list[dict[str, Any]], head: list[str]) -> pd.DataFrame:
    """Columns of `head` first, then what only some rows have; whole numbers stay whole where some
    are missing.
    """
    more = dict.fromkeys(name for row in rows for name in row if name not in head)
    table = pd.DataFrame(rows, columns=[*head, *more])
    return table.astype({name: "Int64" for name in _WHOLE if name in table})


TABLES: dict[str, Callable[[Records], pd.DataFrame]] = {
    "trials": trials_table,
    "finalists": finalists_table,
    "grid": grid_table,
    "family": family_table,
    "controls": controls_table,
}
