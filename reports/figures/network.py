"""The baseline drawn from image to classes: `phinas.reports.network_diagram`, as a figure of the
report.
"""

from phinas.reports.figure_export import Plate
from phinas.reports.formatting import TIMES, counted
from phinas.reports.network_diagram.drawing import draw_networks
from phinas.reports.run_data import Records
from phinas.space.spec import ArchSpec


def draw(records: Records, *, narrow: bool) -> Plate | None:
    spec = records.spec
    if spec is None:
        return None
    return Plate(draw_networks([("baseline", spec)], narrow=narrow, titled=False), _caption(spec))


def _caption(spec: ArchSpec) -> str:
    seen = f"{spec.resolution}{TIMES}{spec.resolution} pixels"
    return (
        f"The baseline, from {seen} on the left to {counted(spec.classes, 'class', 'classes')} on "
        "the right. "
        "Each box is a block: its outline tells the kind, its shade the kernel, its size that of "
        "its output. "
        "Bars: share of the network's FLOPs."
    )
