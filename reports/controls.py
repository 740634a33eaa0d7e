"""The controls: other ways to scale that the family is compared with. Their kinds and names.

The `difference` of a comparison is the score of the member minus the control's, so it is above 0
where compound scaling is better. Its interval includes training noise and test-set sampling error,
and is corrected for multiple comparisons.
"""

from phinas.experiment.artifacts.validation_file import ControlKind, ControlRecord
from phinas.reports.formatting import truncate
from phinas.scaling_search.coefficients import PAPER

PAPER_LABEL = "EfficientNet's coefficients"
PAPER_FACTORS = ", ".join(f"{value:g}" for value in (PAPER.alpha, PAPER.beta, PAPER.gamma))
SINGLE_DIMENSIONS: tuple[ControlKind, ...] = ("depth", "width", "resolution")
VERDICT_LABELS = {
    "better": "compound is better",
    "worse": "the control is better",
    "tied": "not significant",
}

# For each kind of control: matplotlib's marker, the name of the marker, the name of the kind.
MARKERS: dict[ControlKind, tuple[str, str, str]] = {
    "depth": ("^", "triangle up", "depth-only scaling"),
    "width": ("s", "square", "width-only scaling"),
    "resolution": ("D", "diamond", "resolution-only scaling"),
    "paper": ("P", "cross", PAPER_LABEL),
    "coefficients": ("v", "triangle down", "coefficients of another run"),
    "published": ("h", "hexagon", "a published network"),
    "spec_file": ("p", "pentagon", "a network of a spec file"),
}


def make_control_label(control: ControlRecord, *, with_factors: bool = True) -> str:
    """The name of a control.

    Args:
        with_factors: Whether coefficients are followed by their values.
    """
    if control.kind == "paper":
        return f"{PAPER_LABEL} {PAPER_FACTORS}" if with_factors else PAPER_LABEL
    if control.kind in SINGLE_DIMENSIONS:
        return f"{control.kind}-only scaling"
    if control.kind == "published":
        return f"{control.source} as published"
    if control.kind == "spec_file":
        return f"the network of {control.source}"
    factors = control.coefficients
    if factors is None or not with_factors:
        return f"coefficients of {control.source}"
    values = ", ".join(f"{value:.4g}" for value in (factors.alpha, factors.beta, factors.gamma))
    return f"coefficients of {control.source} ({values})"


def make_control_phrase(control: ControlRecord) -> str:
    """The name of a control inside a sentence."""
    article = "the " if control.kind == "coefficients" else ""
    return f"{article}{make_control_label(control)}"


def make_short_control_label(control: ControlRecord, limit: int) -> str:
    """One word for a control, in at most `limit` characters."""
    kind = "EfficientNet" if control.kind == "paper" else control.kind
    return truncate(control.source or kind, limit)
