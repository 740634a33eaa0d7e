"""The baseline drawn from image to classes: `reports.layout`, as a figure of the report."""

from reports.layout.drawing import draw_networks
from reports.plates import Plate
from reports.records import Records
from reports.wording import TIMES, counted
from space.spec import ArchSpec


def draw(records: Records, *, narrow: bool) -> Plate | None:
    spec = records.spec
    if spec is None:
        return None
    return Plate(draw_networks([("baseline", spec)], narrow=narrow, titled=False), _caption(spec))


def _caption(spec: ArchSpec) -> str:
    seen = f"{spec.resolution}{TIMES}{spec.resolution} pixels"
    return (
        f"The baseline, from {seen} on the left to {counted(spec.classes, 'class', 'classes')} on the right. "
        "Each box is a block: its outline tells the kind, its shade the kernel, its size that of its output. "
        "Bars: share of the network's FLOPs."
    )
