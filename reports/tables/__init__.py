"""The tables of the page, as people read them: percent, few digits, the exact number as the key to
sort by.
"""

from collections.abc import Callable

from phinas.reports.run_data import Records
from phinas.reports.tables import controls, family, scaling, search, stages
from phinas.reports.tables.cells import Exhibit

EXHIBITS: dict[str, Callable[[Records], Exhibit | None]] = {
    "trials": search.show_trials,
    "finalists": search.show_finalists,
    "stages": stages.show_stages,
    "coefficients": scaling.show_coefficients,
    "grid": scaling.show_grid,
    "family": family.show_family,
    "controls": controls.show_controls,
    "failures": search.show_failures,
}
