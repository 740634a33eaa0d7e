"""What a run has come to: the same facts for `--json` and for the last line that a person reads."""

from typing import Any

from phinas.experiment.run_dir import RunDir
from phinas.space.yaml_io import read_yaml


def summary(run: RunDir) -> dict[str, Any]:
    """The facts of a run that stands anywhere on its way, as plain data."""
    facts: dict[str, Any] = {
        "run": str(run.path),
        "report": str(run.report_page) if run.report_page.exists() else None,
    }
    if run.baseline.exists():
        data = read_yaml(run.baseline)
        facts["baseline"] = {
            name: data.get(name) for name in ("spec_id", "flops", "params", "why", "chance_of_best")
        }
        facts["reference"] = data.get("reference")
    if run.coefficients.exists():
        data = read_yaml(run.coefficients)
        facts["coefficients"] = {
            name: data[name] for name in ("alpha", "beta", "gamma", "ranges", "why")
        }
    if run.validation.exists():
        facts["family"] = read_yaml(run.validation)["members"]
    return facts


def told_of(reference: dict[str, Any]) -> str:
    """What the published network beside the baseline says of it."""
    return str(reference.get("why") or f"{reference['name']} was left out: {reference['left_out']}")


def sentence(facts: dict[str, Any]) -> str:
    """The summary in one line."""
    parts = []
    if "baseline" in facts:
        parts.append(
            f"baseline {facts['baseline']['spec_id']} of {facts['baseline']['flops'] / 1e6:.3g}M "
            "FLOPs"
        )
    if facts.get("reference"):
        parts.append(told_of(facts["reference"]))
    if "coefficients" in facts:
        found = facts["coefficients"]
        ranges = ((name, found[name], found["ranges"][name]) for name in ("alpha", "beta", "gamma"))
        parts.append(
            ", ".join(
                f"{name} {value:.3g} ({low:.3g} to {high:.3g})"
                for name, value, (low, high) in ranges
            )
        )
    trained = [row for row in facts.get("family", ()) if row["validated"]]
    if trained:
        first, last = trained[0], trained[-1]
        told = f"{first['name'].upper()} {first['accuracy']:.1%}"
        if last is not first:
            told += (
                f" to {last['name'].upper()} {last['accuracy']:.1%} at {last['flops'] / 1e6:.3g}M"
            )
        parts.append(f"{told} on the test split")
    return "; ".join(parts) or "nothing found yet"
