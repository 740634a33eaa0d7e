"""The tables of the page by section, in its order: percentages and few digits, sorted by the exact
numbers.

A new table is a function in a module of this package, and a line in REPORT_TABLES.
"""

from collections.abc import Callable
from dataclasses import dataclass

from phinas.reports.run_data import RunData
from phinas.reports.sections import Section
from phinas.reports.tables import controls, family, networks, scaling, search, stages
from phinas.reports.tables.cells import ReportTable


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A table of the page.

    Attributes:
        section: The section that it is in.
        make: Makes it; None before there is data.
        title: Its heading, or "".
        csv: The name of the CSV file with the same data, or "".
        collapsed: Its title must be clicked to show it.
        before_figures: It is above the figures of its section.
    """

    section: Section
    make: Callable[[RunData], ReportTable | None]
    title: str = ""
    csv: str = ""
    collapsed: bool = False
    before_figures: bool = False


REPORT_TABLES: dict[str, TableEntry] = {
    "trials": TableEntry(
        "search", search.make_trials_table, "All trials as a table", "trials", collapsed=True
    ),
    "stages": TableEntry("baseline", stages.make_stages_table, "Stages"),
    "finalists": TableEntry("baseline", search.make_finalists_table, "Finalists", "finalists"),
    "coefficients": TableEntry("scaling", scaling.make_coefficients_table, before_figures=True),
    "grid": TableEntry(
        "scaling",
        scaling.make_grid_table,
        "The compared networks as a table",
        "grid",
        collapsed=True,
    ),
    "family": TableEntry("family", family.make_family_table, csv="family"),
    "controls": TableEntry("controls", controls.make_controls_table, csv="controls"),
    "networks": TableEntry(
        "run", networks.make_networks_table, "The best measured networks by size"
    ),
    "failures": TableEntry("run", search.make_failures_table, "Failures"),
}
