"""Controls, other ways to scale that the family's own is held against: what kind each is, and in
words what came of it.

`behind` of a control is the accuracy of the family's member less its own, so above 0 where compound
scaling is better. Its interval covers the luck of training and the finite number of test images,
for all controls together.
"""

from typing import Any

from phinas.reports.formatting import joined_names, shortened
from phinas.reports.run_data import Records
from phinas.scaling_search.coefficients import PAPER

PAPERS = "the paper's " + ", ".join(
    f"{value:g}" for value in (PAPER.alpha, PAPER.beta, PAPER.gamma)
)
SINGLE = ("depth", "width", "resolution")
VERDICTS = {
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


def kind_of(row: dict[str, Any]) -> str:
    """A key of MARKERS."""
    if row["name"] in (*SINGLE, "paper"):
        return str(row["name"])
    return "published" if row.get("alpha") is None else "transfer"


def named(row: dict[str, Any]) -> str:
    """As in "better than ..."."""
    kind = kind_of(row)
    return (
        PAPERS
        if kind == "paper"
        else f"the {row['rule']}"
        if kind == "transfer"
        else str(row["rule"])
    )


def label(row: dict[str, Any], limit: int, *, brief: bool = False) -> str:
    """Beside a mark, in at most `limit` characters. brief: a word, where there is little room."""
    if brief:
        return shortened(
            str(row["name"])
            .removesuffix("/")
            .removesuffix("/scaling/coefficients.yaml")
            .rpartition("/")[2],
            limit,
        )
    words = {"paper": named(row), "transfer": str(row["rule"]).partition(" (")[0]}
    return shortened(words.get(kind_of(row), str(row["rule"])), limit)


def member_of(row: dict[str, Any], records: Records) -> dict[str, Any] | None:
    """The member of the family that it is held against."""
    return next(
        (member for member in records.members if member["name"] == row.get("against")), None
    )


def about_compound(records: Records) -> list[str]:
    """Whether compound scaling wins over one dimension alone on these data."""
    found = records.compound
    if not found or not records.controls:
        return []
    told = {
        True: "Compound scaling wins here over one dimension alone",
        False: "Compound scaling does not win here",
        None: "Whether compound scaling wins here can't be told",
    }[found.get("wins")]
    return [f"{told}.", *([as_sentence(found["why"])] if found.get("why") else [])]


def about_same(records: Records) -> list[str]:
    """Controls that rounding made one network of: their numbers are one measurement, not two."""
    groups: dict[str, list[str]] = {}
    for row in records.trained_controls:
        groups.setdefault(row["spec_id"], []).append(named(row))
    alike = [joined_names(names) for names in groups.values() if len(names) > 1]
    return [
        as_sentence(f"rounded to whole blocks, channels and pixels, {names} are one network here")
        for names in alike
    ]


def as_sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")
