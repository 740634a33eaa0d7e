"""Does a domain need coefficients of its own? What the race says of the paper's, the test images of
those and other runs'.
"""

import math
from typing import Any

from phinas.reports.controls import PAPERS, kind_of, named
from phinas.reports.formatting import GREEK, joined_names, points, span
from phinas.reports.run_data import Records
from phinas.scaling_search.coefficients import PAPER

_TOLD = 2  # rivals that are named where they can't be told from


def nearest_to_paper(coefficients: dict[str, Any]) -> dict[str, Any] | None:
    """The raced network whose intervals are nearest to the paper's alpha, beta, gamma, in
    logarithms.
    """

    def distance(row: dict[str, Any]) -> float:
        boxes = [(row[name], math.log(getattr(PAPER, name))) for name in GREEK]
        return math.hypot(
            *(max(0.0, math.log(low) - at, at - math.log(high)) for (low, high), at in boxes)
        )

    known = [row for row in coefficients["members"] if row["behind"] is not None]
    return min(known, key=distance, default=None)


def about_paper(records: Records) -> list[str]:
    """What the grid alone says of the paper's coefficients."""
    row = nearest_to_paper(records.searched_coefficients or {"members": []})
    if row is None:
        return []
    box = ", ".join(f"{GREEK[name]} {span(*row[name])}" for name in GREEK)
    told = f"The raced network nearest to {PAPERS} ({box})"
    if row["winner"]:
        return [f"{told} is the best itself."]
    interval = row["behind_interval"]
    behind = f"{points(row['behind']).removeprefix('+')} points behind"
    noise = f" (95%: {points(interval[0])} to {points(interval[1])})" if interval else ""
    verb = "can't be told from" if row["tied"] else "is worse than"
    return [f"{told} {verb} the best: {behind}{noise}."]


def about_own(records: Records) -> list[str]:
    """Whether the family's coefficients beat those of the paper and of other runs: does this domain
    need its own?
    """
    rivals = [
        row
        for row in records.trained_controls
        if kind_of(row) in ("paper", "transfer") and row.get("verdict")
    ]
    tied = [row for row in rivals if row["verdict"] == "tied"]
    told = [_told_apart(row, records) for row in rivals if row["verdict"] != "tied"]
    if not tied:
        return told
    few = [
        f"{named(row)} ({_measure(row)})" for row in sorted(tied, key=kind_of)[:_TOLD]
    ]  # the paper's first
    more = [f"{len(tied) - _TOLD} more"] if len(tied) > _TOLD else []
    return [*told, f"Whether {_ours(records)} beat {joined_names(few + more, 'or')} can't be told."]


def _ours(records: Records) -> str:
    return (
        "the coefficients found here"
        if records.searched_coefficients is not None
        else "the given coefficients"
    )


def _measure(row: dict[str, Any]) -> str:
    low, high = row["behind_interval"]  # there is one where there is a verdict
    at = f"{str(row['against']).upper()}'s FLOPs"
    return f"{points(row['behind'])} points at about {at}, 95%: {points(low)} to {points(high)}"


def _told_apart(row: dict[str, Any], records: Records) -> str:
    better = row["verdict"] == "better"
    so = (
        f", so this domain {'gains from' if better else 'does not need'} its own"
        if records.searched_coefficients
        else ""
    )
    verb = "beat" if better else "are worse than"
    return f"On the test images {_ours(records)} {verb} {named(row)} ({_measure(row)}){so}."
