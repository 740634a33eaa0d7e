"""Summary of a run's results, for Python, for `--json` and as text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phinas.experiment.artifacts.baseline_file import BaselineFile
from phinas.experiment.artifacts.coefficients_file import CoefficientsFile, RaceRecord
from phinas.experiment.artifacts.validation_file import MemberRecord, ValidationFile
from phinas.experiment.manifest import read_manifest
from phinas.experiment.measurement import metric_label
from phinas.experiment.run_dir import RunDir
from phinas.next_commands import NextCommand, best_member, commands_as_text, next_commands
from phinas.run_context import read_config
from phinas.terminal.text_table import format_minutes


@dataclass(frozen=True)
class RunSummary:
    """The results of a run so far. A result that does not exist yet is None.

    Attributes:
        run: The run directory.
        report: The path of the report page.
        baseline: The baseline network and how it was selected.
        coefficients: The compound coefficients.
        validation: The scores of the family and its controls on the test split.
        next_commands: The commands that come next.
        seconds: Duration of the finished stages, of all processes that resumed the run. None before
            the first one ends.
        time_budget: The time budget of the run in minutes, or None.
    """

    run: Path
    report: Path | None
    baseline: BaselineFile | None
    coefficients: CoefficientsFile | None
    validation: ValidationFile | None
    next_commands: tuple[NextCommand, ...] = ()
    seconds: float | None = None
    time_budget: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data for JSON. A result that does not exist yet has no key."""
        summary: dict[str, Any] = {
            "run": str(self.run),
            "report": str(self.report) if self.report else None,
            "seconds": self.seconds,
            "time_budget_minutes": self.time_budget,
        }
        if self.baseline is not None:
            summary |= _baseline_data(self.baseline)
        if self.coefficients is not None:
            summary["coefficients"] = _coefficients_data(self.coefficients)
        if self.validation is not None:
            summary["metric"] = self.validation.metric
            summary["family"] = [_member_data(row) for row in self.validation.members]
        summary["next_commands"] = [row.to_dict() for row in self.next_commands]
        return summary

    def as_text(self) -> str:
        """The summary as text, one fact a line."""
        parts = []
        if self.baseline is not None:
            parts += _baseline_texts(self.baseline)
        if self.coefficients is not None:
            parts += _coefficients_texts(self.coefficients)
        if self.validation is not None:
            parts += _family_texts(self.validation)
        if parts and self.seconds:
            parts.append(_duration_text(self.seconds, self.time_budget))
        return "\n".join(parts) or "no results yet"

    def next_commands_text(self) -> str:
        """The commands that come next, with their purpose. Empty if there are none."""
        return commands_as_text(self.next_commands) if self.next_commands else ""


def summarize_run(run: RunDir) -> RunSummary:
    """Read the results of a run.

    Raises:
        InputError: A file is damaged or of another version.
    """
    validation = ValidationFile.read(run.validation) if run.validation.exists() else None
    config = read_config(run)
    return RunSummary(
        run=run.path,
        report=run.report_page if run.report_page.exists() else None,
        baseline=BaselineFile.read(run.baseline) if run.baseline.exists() else None,
        coefficients=CoefficientsFile.read(run.coefficients) if run.coefficients.exists() else None,
        validation=validation,
        next_commands=next_commands(run, config, validation),
        seconds=read_manifest(run).seconds or None,
        time_budget=config.run.time_budget,
    )


def _duration_text(seconds: float, time_budget: float | None) -> str:
    """How long the run took, and its time budget where it has one."""
    text = f"duration {format_minutes(seconds / 60)}"
    if time_budget is None:
        return text
    verb = "exceeds" if seconds > 60 * time_budget else "is within"
    return f"{text}, which {verb} the time budget of {format_minutes(time_budget)}"


def _baseline_data(baseline: BaselineFile) -> dict[str, Any]:
    from phinas.reports.sentences.baseline import explain_choice

    selection = baseline.selection
    reference = selection.reference or selection.excluded_reference if selection else None
    return {
        "baseline": {
            "network_id": baseline.network_id,
            "flops": baseline.flops,
            "params": baseline.params,
            "explanation": " ".join(explain_choice(baseline)),
            "probability_of_best": selection.probability_of_best if selection else None,
        },
        "reference": reference.to_dict() if reference else None,
    }


def _coefficients_data(coefficients: CoefficientsFile) -> dict[str, Any]:
    from phinas.reports.sentences.coefficients import explain_coefficients

    factors, race = coefficients.factors, coefficients.race
    intervals = race.intervals.by_name if race else {name: (v, v) for name, v in factors.items()}
    return {
        **factors,
        "intervals": {name: list(interval) for name, interval in intervals.items()},
        "best_network": _best_network_data(race) if race else None,
        "explanation": " ".join(explain_coefficients(coefficients)),
    }


def _best_network_data(race: RaceRecord) -> dict[str, Any]:
    """The best of the compared networks, which is the one to use at their FLOPs."""
    winner = race.winner
    return {
        "name": f"grid-{race.winner_number}",
        "network_id": winner.network_id,
        "flops": winner.flops,
        "probability_of_best": winner.probability_of_best,
    }


def _member_data(row: MemberRecord) -> dict[str, Any]:
    data = row.to_dict()
    result = data.pop("result") or {}
    return data | {"validated": row.result is not None} | result


def _baseline_texts(baseline: BaselineFile) -> list[str]:
    from phinas.reports.sentences.baseline import describe_reference

    network = f"baseline network {baseline.network_id} with {baseline.flops / 1e6:.3g}M FLOPs"
    reference = describe_reference(baseline.selection) if baseline.selection else ""
    return [network, *([reference] if reference else [])]


def _coefficients_texts(coefficients: CoefficientsFile) -> list[str]:
    race = coefficients.race
    intervals = race.intervals.by_name if race else {}
    texts = []
    for name, value in coefficients.factors.items():
        low, high = intervals.get(name, (value, value))
        span = f" (95%: {low:.3g} to {high:.3g})" if name in intervals else ""
        texts.append(f"{name} {value:.3g}{span}")
    lines = [", ".join(texts)]
    if race is not None and race.chance is not None:
        lines.append(
            "warning: in the scaling search no network is significantly better than guessing "
            f"({race.chance:.0%}), so these coefficients say nothing; raise scaling.recipe.epochs "
            "or add images"
        )
    return lines


def _family_texts(validation: ValidationFile) -> list[str]:
    """The scores of the smallest and the largest validated member, and of the best one."""
    tested = [(row, row.result) for row in validation.members if row.result is not None]
    if not tested:
        return []
    (first, first_result), (last, last_result) = tested[0], tested[-1]
    text = f"{first.name.upper()} {first_result.score:.1%}"
    if last is not first:
        text += f" to {last.name.upper()} {last_result.score:.1%} at {last.flops / 1e6:.3g}M FLOPs"
    best = best_member(validation)
    if best is not None and best.result is not None and best not in (first, last):
        text += f"; the best is {best.name.upper()} with {best.result.score:.1%}"
    return [f"{metric_label(validation.metric)} on the test split: {text}"]
