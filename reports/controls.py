"""Controls, other ways to scale that the family's own is held against: what kind each is, and in
words what came of it.

`accuracy_gap` of a control is the accuracy of the family's member less its own, so above 0 where
compound scaling is better. Its interval covers the luck of training and the finite number of test
images, for all controls together.
"""

from typing import Any

from phinas.reports.formatting import join_names, truncate
from phinas.reports.run_data import RunData
from phinas.scaling_search.coefficients import PAPER

PAPER_LABEL = "the paper's " + ", ".join(
    f"{value:g}" for value in (PAPER.alpha, PAPER.beta, PAPER.gamma)
)
SINGLE_DIMENSIONS = ("depth", "width", "resolution")
VERDICT_LABELS = {
    "better": "compound is better",
    "worse": "the control is better",
    "tied": "can't be told",
}

# Of each kind the marker, and its name for a caption.
MARKERS = {
    "depth": ("^", "triangle up"),
    "width": ("s", "square"),
    "resolution": ("D", "diamond"),
    "paper": ("P", "cross"),
    "transfer": ("v", "triangle down"),
    "published": ("h", "hexagon"),
}


def get_control_kind(row: dict[str, Any]) -> str:
    """A key of MARKERS."""
    if row["name"] in (*SINGLE_DIMENSIONS, "paper"):
        return str(row["name"])
    return "published" if row.get("alpha") is None else "transfer"


def make_control_phrase(row: dict[str, Any]) -> str:
    """As in "better than ..."."""
    kind = get_control_kind(row)
    return (
        PAPER_LABEL
        if kind == "paper"
        else f"the {row['label']}"
        if kind == "transfer"
        else str(row["label"])
    )


def make_control_label(row: dict[str, Any], limit: int, *, short: bool = False) -> str:
    """Beside a mark, in at most `limit` characters. short: a word, where there is little room."""
    if short:
        return truncate(
            str(row["name"])
            .removesuffix("/")
            .removesuffix("/scaling/coefficients.yaml")
            .rpartition("/")[2],
            limit,
        )
    long_labels = {
        "paper": make_control_phrase(row),
        "transfer": str(row["label"]).partition(" (")[0],
    }
    return truncate(long_labels.get(get_control_kind(row), str(row["label"])), limit)


def find_compared_member(row: dict[str, Any], run_data: RunData) -> dict[str, Any] | None:
    """The member of the family that it is held against."""
    return next(
        (member for member in run_data.members if member["name"] == row.get("family_member")), None
    )


def describe_compound_verdict(run_data: RunData) -> list[str]:
    """Whether compound scaling wins over one dimension alone on these data."""
    compound_verdict = run_data.compound_verdict
    if not compound_verdict or not run_data.controls:
        return []
    statement = {
        True: "Compound scaling wins here over one dimension alone",
        False: "Compound scaling does not win here",
        None: "Whether compound scaling wins here can't be told",
    }[compound_verdict.get("wins")]
    return [
        f"{statement}.",
        *(
            [to_sentence(compound_verdict["explanation"])]
            if compound_verdict.get("explanation")
            else []
        ),
    ]


def describe_identical_controls(run_data: RunData) -> list[str]:
    """Controls that rounding made one network of: their numbers are one measurement, not two."""
    groups: dict[str, list[str]] = {}
    for row in run_data.trained_controls:
        groups.setdefault(row["spec_id"], []).append(make_control_phrase(row))
    groups_of_names = [join_names(names) for names in groups.values() if len(names) > 1]
    return [
        to_sentence(f"rounded to whole blocks, channels and pixels, {names} are one network here")
        for names in groups_of_names
    ]


def to_sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")
