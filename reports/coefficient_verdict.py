"""Does a domain need coefficients of its own? What the race says of the paper's, the test images of
those and other runs'.
"""

import math
from typing import Any

from phinas.reports.controls import PAPER_LABEL, get_control_kind, make_control_phrase
from phinas.reports.formatting import GREEK_LETTERS, format_interval, format_points, join_names
from phinas.reports.run_data import RunData
from phinas.scaling_search.coefficients import PAPER

_MAX_NAMED_TIES = 2  # controls that are named where they are ties


def find_closest_to_paper(coefficients: dict[str, Any]) -> dict[str, Any] | None:
    """The raced network whose intervals are nearest to the paper's alpha, beta, gamma, in
    logarithms.
    """

    def distance(row: dict[str, Any]) -> float:
        log_intervals = [(row[name], math.log(getattr(PAPER, name))) for name in GREEK_LETTERS]
        return math.hypot(
            *(
                max(0.0, math.log(low) - log_factor, log_factor - math.log(high))
                for (low, high), log_factor in log_intervals
            )
        )

    members_with_result = [
        row for row in coefficients["members"] if row["accuracy_gap"] is not None
    ]
    return min(members_with_result, key=distance, default=None)


def describe_paper_coefficients(run_data: RunData) -> list[str]:
    """What the grid alone says of the paper's coefficients."""
    member = find_closest_to_paper(run_data.searched_coefficients or {"members": []})
    if member is None:
        return []
    intervals_text = ", ".join(
        f"{GREEK_LETTERS[name]} {format_interval(*member[name])}" for name in GREEK_LETTERS
    )
    subject = f"The raced network nearest to {PAPER_LABEL} ({intervals_text})"
    if member["winner"]:
        return [f"{subject} is the best itself."]
    interval = member["accuracy_gap_interval"]
    difference_text = f"{format_points(member['accuracy_gap']).removeprefix('+')} points behind"
    interval_note = (
        f" (95%: {format_points(interval[0])} to {format_points(interval[1])})" if interval else ""
    )
    verb = "can't be told from" if member["tied"] else "is worse than"
    return [f"{subject} {verb} the best: {difference_text}{interval_note}."]


def describe_domain_coefficients(run_data: RunData) -> list[str]:
    """Whether the family's coefficients beat those of the paper and of other runs: does this domain
    need its own?
    """
    compared_controls = [
        row
        for row in run_data.trained_controls
        if get_control_kind(row) in ("paper", "transfer") and row.get("verdict")
    ]
    tied_controls = [row for row in compared_controls if row["verdict"] == "tied"]
    sentences = [
        _describe_significant_control(row, run_data)
        for row in compared_controls
        if row["verdict"] != "tied"
    ]
    if not tied_controls:
        return sentences
    # the paper's first
    named_ties = [
        f"{make_control_phrase(row)} ({_format_difference(row)})"
        for row in sorted(tied_controls, key=get_control_kind)[:_MAX_NAMED_TIES]
    ]
    remaining_ties = (
        [f"{len(tied_controls) - _MAX_NAMED_TIES} more"]
        if len(tied_controls) > _MAX_NAMED_TIES
        else []
    )
    return [
        *sentences,
        f"Whether {_describe_coefficients_source(run_data)} beat "
        f"{join_names(named_ties + remaining_ties, 'or')} can't be told.",
    ]


def _describe_coefficients_source(run_data: RunData) -> str:
    return (
        "the coefficients found here"
        if run_data.searched_coefficients is not None
        else "the given coefficients"
    )


def _format_difference(row: dict[str, Any]) -> str:
    low, high = row["accuracy_gap_interval"]  # there is one where there is a verdict
    flops_phrase = f"{str(row['family_member']).upper()}'s FLOPs"
    return (
        f"{format_points(row['accuracy_gap'])} points at about {flops_phrase}, 95%: "
        f"{format_points(low)} to {format_points(high)}"
    )


def _describe_significant_control(row: dict[str, Any], run_data: RunData) -> str:
    is_better = row["verdict"] == "better"
    implication = (
        f", so this domain {'gains from' if is_better else 'does not need'} its own"
        if run_data.searched_coefficients
        else ""
    )
    verb = "beat" if is_better else "are worse than"
    return (
        f"On the test images {_describe_coefficients_source(run_data)} {verb} "
        f"{make_control_phrase(row)} ({_format_difference(row)}){implication}."
    )
