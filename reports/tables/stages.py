"""The baseline as a table, stage by stage."""

from phinas.reports.formatting import EN_DASH, TIMES_SIGN
from phinas.reports.network_diagram.columns import make_stage_columns
from phinas.reports.run_data import RunData
from phinas.reports.tables.cells import (
    Cell,
    ReportTable,
    make_columns,
    make_integer_cell,
    make_percent_cell,
)
from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.cost import stage_costs


def make_stages_table(run_data: RunData) -> ReportTable | None:
    spec = run_data.baseline_spec
    if spec is None:
        return None
    total_cost = spec.cost()
    rows = []
    for row, column in zip(stage_costs(spec), make_stage_columns(spec), strict=True):
        stage = spec.stages[int(row.name) - 1] if row.name.isdigit() else None
        stride = stage.stride if stage else spec.stem_stride if row.name == "stem" else 1
        kind = (
            BLOCK_KINDS[stage.block].labels[0]
            if stage
            else "Convolution"
            if column.depth
            else EN_DASH
        )
        sizes = [
            make_integer_cell(value) if column.depth else Cell(EN_DASH, "-1")
            for value in (column.depth, column.kernel, stride)
        ]
        output = [
            make_integer_cell(value) if column.depth else Cell(EN_DASH, "-1")
            for value in (column.width, column.resolution)
        ]
        rows.append(
            [
                Cell(row.name),
                Cell(kind),
                *sizes,
                Cell(column.cells["expansion"]),
                Cell(column.cells["SE"]),
                *output,
                make_integer_cell(row.cost.flops),
                make_percent_cell(column.flops_fraction),
                make_integer_cell(row.cost.params),
            ]
        )
    total = (
        f"{total_cost.flops:,} FLOPs, {total_cost.params:,} parameters, {total_cost.activations:,} "
        "activations"
    )
    pool = f" A 3{TIMES_SIGN}3 max pooling of stride 2 follows the stem." if spec.stem_pool else ""
    head_convolution = (
        f"a 1{TIMES_SIGN}1 convolution to {spec.head_width:,} channels, " if spec.head_width else ""
    )
    note = (
        f"In total {total}, at {spec.resolution} px.{pool} The head is {head_convolution}pooling "
        "and the classifier."
    )
    size_columns = ("blocks", "kernel", "stride", "expansion", "SE", "width", "px")
    return ReportTable(
        make_columns("stage:", "block:", *size_columns, "FLOPs", "% of FLOPs", "parameters"),
        rows,
        None,
        note,
    )
