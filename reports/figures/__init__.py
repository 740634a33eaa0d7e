"""The figures of a report, in its order. Each is drawn from the run's data, wide or compact, or
is None: no data yet.
"""

from collections.abc import Callable

from phinas.reports.figure_export import ReportFigure
from phinas.reports.figures import controls, family, grid, network, pareto, progress

FIGURES: dict[str, Callable[..., ReportFigure | None]] = {
    "front": pareto.draw,
    "progress": progress.draw,
    "network": network.draw,
    "grid": grid.draw,
    "family": family.draw,
    "controls": controls.draw,
}
