"""The best measured networks of a run by size, under the names that commands take."""

from phinas.reports.formatting import format_percent
from phinas.reports.measured_networks import (
    MEASUREMENT_KINDS,
    MeasuredNetwork,
    measured_networks,
)
from phinas.reports.network_choice import best_by_size
from phinas.reports.run_data import RunData
from phinas.reports.tables.cells import (
    Cell,
    ReportTable,
    make_columns,
    make_integer_cell,
    make_number_cell,
)

_NOTE = (
    "Each has a higher score than all networks with at most its FLOPs that were measured in the "
    "same way. Scores of different measurements are not comparable. The names stand for the "
    "networks in commands, such as phinas fit RUN:NAME, and phinas choose RUN applies limits."
)


def make_networks_table(run_data: RunData) -> ReportTable | None:
    networks = best_by_size(measured_networks(run_data))
    if not networks:
        return None
    rows = [
        [
            Cell(network.name),
            Cell(MEASUREMENT_KINDS[network.kind]),
            make_integer_cell(network.cost.flops),
            make_integer_cell(network.cost.params),
            make_number_cell(network.size_mb, 2),
            _make_score_cell(network),
        ]
        for network in networks
    ]
    columns = make_columns(
        "network:", "measured among:", "FLOPs", "parameters", "size, MB", "score (95% CI)"
    )
    return ReportTable(columns, rows, note=_NOTE)


def _make_score_cell(network: MeasuredNetwork) -> Cell:
    low, high = (format_percent(value) for value in network.interval)
    return Cell(f"{format_percent(network.score)} ({low} to {high})", repr(network.score))
