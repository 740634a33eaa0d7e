"""The headlines of the page: each has a name, a number and an explanation."""

from phinas.reports.formatting import GREEK_LETTERS, format_cost, format_count, format_percent
from phinas.reports.run_data import RunData
from phinas.reports.sentences.coefficients import describe_coefficient_intervals

Headline = tuple[str, str, str]


def make_headlines(run_data: RunData) -> list[Headline]:
    """At most three: baseline, coefficients and family."""
    headlines = (
        _make_baseline_headline(run_data),
        _make_coefficients_headline(run_data),
        _make_family_headline(run_data),
    )
    return [headline for headline in headlines if headline is not None]


def _make_baseline_headline(run_data: RunData) -> Headline | None:
    baseline = run_data.baseline
    if baseline is None:
        return None
    score, kind = baseline.network_id, "user-supplied"
    if baseline.selection is not None:
        score = format_percent(baseline.selection.selected.mean_score)
        split = "validation " if run_data.search_trains_networks else ""
        kind = f"{split}{run_data.search_score_label}"
    size = f"{format_count(baseline.flops)} FLOPs, {format_count(baseline.params)} parameters"
    if baseline.latency_ms:
        size += f", {format_cost('latency', baseline.latency_ms)}"
    return "Baseline", score, f"{kind}, {size}"


def _make_coefficients_headline(run_data: RunData) -> Headline | None:
    if run_data.coefficients is None:
        return None
    separator = " \N{MIDDLE DOT} "
    values = separator.join(f"{value:.2f}" for value in run_data.coefficients.factors.values())
    name = f"Coefficients {separator.join(GREEK_LETTERS.values())}"
    return name, values, describe_coefficient_intervals(run_data)


def _make_family_headline(run_data: RunData) -> Headline | None:
    members = run_data.tested_members
    if not members:
        return None
    first, last = members[0], members[-1]
    name, value = first.label, format_percent(first.result.score)
    if first is not last:
        name = f"{name} to {last.label}"
        value = f"{value} \N{RIGHTWARDS ARROW} {format_percent(last.result.score)}"
    cost = (
        f"at {last.member.ratio:.1f} times B0's FLOPs"
        if last.member.ratio > 1
        else f"{format_count(last.flops)} FLOPs"
    )
    return name, value, f"test {run_data.test_score_label}, {cost}"
