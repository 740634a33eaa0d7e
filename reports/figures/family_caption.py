"""What the figure of the family says below it: what is measured, what is predicted and how far, and
which noise is where.
"""

from phinas.reports.controls import MARKERS, kind_of
from phinas.reports.formatting import counted, joined_names
from phinas.reports.run_data import Records

_KINDS = {
    "depth": "depth alone",
    "width": "width alone",
    "resolution": "resolution alone",
    "paper": "1.2, 1.1, 1.15 of the paper",
    "transfer": "another run's coefficients",
    "published": "a network as it is",
}


def caption(records: Records) -> str:
    trained = records.validated
    seeds = max(len(row["accuracies"]) for row in trained)
    images = trained[0]["images"]
    epochs = records.config.validation.recipe.epochs
    text = (
        f"Top-1 accuracy on the {images:,} test images, which nothing before this saw, after "
        f"{counted(epochs, 'epoch')}. "
        f"Blue dot: mean of {counted(seeds, 'training')} (small dots). Bar: the 95% interval "
        f"(Wilson) that {images:,} images "
        "leave; the luck of training is not in it, and all members are measured on the same images."
    )
    told = (
        _about_curve(records),
        _about_predicted(records),
        _about_controls(records),
        _about_unknown(records),
    )
    return " ".join([text, *filter(None, told)])


def _about_curve(records: Records) -> str:
    if not records.curve:
        return ""
    return (
        "Line: the error falls with a power of FLOPs down to a floor, fitted through the "
        "trained members; shade: its 95% band."
    )


def _about_predicted(records: Records) -> str:
    rows = records.predicted
    if not rows:
        return ""
    beyond = max(row["prediction"]["beyond"] for row in rows)
    far = (
        f", up to {beyond:.1f} times the FLOPs of the largest trained network" if beyond > 1 else ""
    )
    doubt = (
        " Beyond twice the largest trained it is only as good as the assumed law."
        if beyond > 2
        else ""
    )
    return (
        f"Hollow: {joined_names([row['name'].upper() for row in rows])} "
        f"{'was' if len(rows) == 1 else 'were'} not trained; the "
        f"accuracy is read off the curve{far}. Dashed bar: the 95% interval of the mean over "
        "seeds of such a network, with the "
        f"noise of the trained members and the departure of networks from the curve in it.{doubt}"
    )


def _about_controls(records: Records) -> str:
    rows = records.trained_controls
    if not rows:
        return ""
    kinds = {
        "depth": "depth alone",
        "width": "width alone",
        "resolution": "resolution alone",
        "paper": "1.2, 1.1, 1.15 of the paper",
    }
    kinds |= {"transfer": "another run's coefficients", "published": "a network as it is"}
    found = [kind for kind in MARKERS if any(kind_of(row) == kind for row in rows)]
    marks = "; ".join(f"{MARKERS[kind][1]}: {kinds[kind]}" for kind in found)
    return (
        f"Grey marks: controls, trained alike ({marks}); the next figure names each and "
        "tells how far it is from the family's."
    )


def _about_unknown(records: Records) -> str:
    rows = records.unknown
    return (
        f"Hollow on the axis: {counted(len(rows), 'member')} whose FLOPs are known and whose "
        "accuracy is not."
        if rows
        else ""
    )
