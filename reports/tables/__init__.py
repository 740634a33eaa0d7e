"""The tables of the page, as people read them: percent, few digits, the exact number as the key to
sort by.
"""

from collections.abc import Callable

from phinas.reports.run_data import RunData
from phinas.reports.tables import controls, family, scaling, search, stages
from phinas.reports.tables.cells import ReportTable

REPORT_TABLES: dict[str, Callable[[RunData], ReportTable | None]] = {
    "trials": search.make_trials_table,
    "finalists": search.make_finalists_table,
    "stages": stages.make_stages_table,
    "coefficients": scaling.make_coefficients_table,
    "grid": scaling.make_grid_table,
    "family": family.make_family_table,
    "controls": controls.make_controls_table,
    "failures": search.make_failures_table,
}
