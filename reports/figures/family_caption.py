"""What the figure of the family says below it: what is measured, what is predicted and how far, and
which noise is where.
"""

from phinas.reports.controls import MARKERS, get_control_kind
from phinas.reports.formatting import join_names, pluralize
from phinas.reports.run_data import RunData

_KIND_NAMES = {
    "depth": "depth alone",
    "width": "width alone",
    "resolution": "resolution alone",
    "paper": "1.2, 1.1, 1.15 of the paper",
    "transfer": "another run's coefficients",
    "published": "a network as it is",
}


def make_family_caption(run_data: RunData) -> str:
    trained_members = run_data.validated_members
    seeds = max(len(row["accuracies"]) for row in trained_members)
    images = trained_members[0]["images"]
    epochs = run_data.config.validation.recipe.epochs
    text = (
        f"Top-1 accuracy on the {images:,} test images, which nothing before this saw, after "
        f"{pluralize(epochs, 'epoch')}. Blue dot: mean of {pluralize(seeds, 'training')} (small "
        f"dots). Bar: the 95% interval (Wilson) that {images:,} images leave; the luck of training "
        "is not in it, and all members are measured on the same images."
    )
    descriptions = (
        _describe_curve(run_data),
        _describe_predictions(run_data),
        _describe_controls(run_data),
        _describe_members_without_accuracy(run_data),
    )
    return " ".join([text, *filter(None, descriptions)])


def _describe_curve(run_data: RunData) -> str:
    if not run_data.curve:
        return ""
    return (
        "Line: the error falls with a power of FLOPs down to a floor, fitted through the trained "
        "members; shade: its 95% band."
    )


def _describe_predictions(run_data: RunData) -> str:
    rows = run_data.predicted_members
    if not rows:
        return ""
    max_extrapolation = max(row["prediction"]["extrapolation"] for row in rows)
    extrapolation_note = (
        f", up to {max_extrapolation:.1f} times the FLOPs of the largest trained network"
        if max_extrapolation > 1
        else ""
    )
    caveat = (
        " Beyond twice the largest trained it is only as good as the assumed law."
        if max_extrapolation > 2
        else ""
    )
    return (
        f"Hollow: {join_names([row['name'].upper() for row in rows])} "
        f"{'was' if len(rows) == 1 else 'were'} not trained; the accuracy is read off the "
        f"curve{extrapolation_note}. Dashed bar: the 95% interval of the mean over seeds of such a "
        "network, with the noise of the trained members and the departure of networks from the "
        f"curve in it.{caveat}"
    )


def _describe_controls(run_data: RunData) -> str:
    rows = run_data.trained_controls
    if not rows:
        return ""
    kinds_present = [kind for kind in MARKERS if any(get_control_kind(row) == kind for row in rows)]
    marker_legend = "; ".join(f"{MARKERS[kind][1]}: {_KIND_NAMES[kind]}" for kind in kinds_present)
    return (
        f"Gray marks: controls, trained alike ({marker_legend}); the next figure names each and "
        "tells how far it is from the family's."
    )


def _describe_members_without_accuracy(run_data: RunData) -> str:
    rows = run_data.members_without_accuracy
    return (
        f"Hollow on the axis: {pluralize(len(rows), 'member')} whose FLOPs are known and whose "
        "accuracy is not."
        if rows
        else ""
    )
