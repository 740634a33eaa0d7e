"""The results of a run: as data for `--json`, and as one line."""

from typing import Any

from phinas.experiment.run_dir import RunDir
from phinas.space.yaml_io import read_yaml


def summarize_run(run: RunDir) -> dict[str, Any]:
    """The results of a run so far, as plain data."""
    summary: dict[str, Any] = {
        "run": str(run.path),
        "report": str(run.report_page) if run.report_page.exists() else None,
    }
    if run.baseline.exists():
        data = read_yaml(run.baseline)
        summary["baseline"] = {
            name: data.get(name)
            for name in ("spec_id", "flops", "params", "explanation", "probability_of_best")
        }
        summary["reference"] = data.get("reference")
    if run.coefficients.exists():
        data = read_yaml(run.coefficients)
        summary["coefficients"] = {
            name: data[name] for name in ("alpha", "beta", "gamma", "ranges", "explanation")
        }
    if run.validation.exists():
        summary["family"] = read_yaml(run.validation)["members"]
    return summary


def reference_message(reference: dict[str, Any]) -> str:
    """How the reference network compares with the baseline, or why it was not trained."""
    return str(
        reference.get("explanation")
        or f"{reference['name']} was left out: {reference['exclusion_reason']}"
    )


def summary_line(summary: dict[str, Any]) -> str:
    """The summary in one line."""
    parts = []
    if "baseline" in summary:
        parts.append(
            f"baseline {summary['baseline']['spec_id']} of "
            f"{summary['baseline']['flops'] / 1e6:.3g}M "
            "FLOPs"
        )
    if summary.get("reference"):
        parts.append(reference_message(summary["reference"]))
    if "coefficients" in summary:
        coefficients = summary["coefficients"]
        ranges = (
            (name, coefficients[name], coefficients["ranges"][name])
            for name in ("alpha", "beta", "gamma")
        )
        parts.append(
            ", ".join(
                f"{name} {value:.3g} ({low:.3g} to {high:.3g})"
                for name, value, (low, high) in ranges
            )
        )
    validated = [row for row in summary.get("family", ()) if row["validated"]]
    if validated:
        first, last = validated[0], validated[-1]
        accuracies = f"{first['name'].upper()} {first['accuracy']:.1%}"
        if last is not first:
            accuracies += (
                f" to {last['name'].upper()} {last['accuracy']:.1%} at {last['flops'] / 1e6:.3g}M"
            )
        parts.append(f"{accuracies} on the test split")
    return "; ".join(parts) or "nothing found yet"
