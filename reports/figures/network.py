"""The baseline, drawn block by block (`phinas.reports.network_diagram`)."""

from phinas.reports.figure_export import ReportFigure
from phinas.reports.formatting import TIMES_SIGN, pluralize
from phinas.reports.network_diagram.drawing import draw_networks
from phinas.reports.run_data import RunData
from phinas.space.spec import ArchSpec


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    spec = run_data.baseline_spec
    if not isinstance(spec, ArchSpec):
        return None
    return ReportFigure(
        draw_networks([("baseline", spec)], compact=compact, show_titles=False), _make_caption(spec)
    )


def _make_caption(spec: ArchSpec) -> str:
    input_size = f"{spec.resolution}{TIMES_SIGN}{spec.resolution} px"
    return (
        f"The baseline, from an image of {input_size} on the left to "
        f"{pluralize(spec.classes, 'class', 'classes')} on the right. Each box is a block. Its "
        "outline shows the kind of block, its shade the kernel size, and its size the size of its "
        "output. Bars: percentage of the network's FLOPs."
    )
