"""The figures of a report by section of the page, in its order.

Each is drawn from the run's data, wide or compact; None before there is data. A new figure is
a module of this package with a function `draw`, and a line in FIGURES.
"""

from collections.abc import Callable
from dataclasses import dataclass

from phinas.reports.figure_export import ReportFigure
from phinas.reports.figures import controls, family, grid, network, pareto, progress
from phinas.reports.sections import Section


@dataclass(frozen=True, slots=True)
class FigureEntry:
    """A figure: the section that it is in, and the function that draws it."""

    section: Section
    draw: Callable[..., ReportFigure | None]


FIGURES: dict[str, FigureEntry] = {
    "front": FigureEntry("search", pareto.draw),
    "progress": FigureEntry("search", progress.draw),
    "network": FigureEntry("baseline", network.draw),
    "grid": FigureEntry("scaling", grid.draw),
    "family": FigureEntry("family", family.draw),
    "controls": FigureEntry("controls", controls.draw),
}
