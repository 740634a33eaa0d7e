"""The figures of a report, in its order. Each draws itself from the records, wide or narrow, or
says None: no data yet.
"""

from collections.abc import Callable

from phinas.reports.figure_export import Plate
from phinas.reports.figures import controls, family, grid, network, pareto, progress

FIGURES: dict[str, Callable[..., Plate | None]] = {
    "front": pareto.draw,
    "progress": progress.draw,
    "network": network.draw,
    "grid": grid.draw,
    "family": family.draw,
    "controls": controls.draw,
}
