"""The baseline as a table, stage by stage. The stages of a network that a user's function builds
are unknown, so its table has the sizes of its layers' outputs.
"""

from phinas.reports.formatting import EN_DASH, TIMES_SIGN
from phinas.reports.network_diagram.columns import StageColumn, make_stage_columns
from phinas.reports.run_data import RunData
from phinas.reports.tables.cells import (
    Cell,
    ReportTable,
    make_columns,
    make_integer_cell,
    make_percent_cell,
)
from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.cost import StageCost, stage_costs
from phinas.space.spec import ArchSpec

_COLUMNS = make_columns(
    *("stage:", "block type:", "block count", "kernel", "stride", "expansion", "SE ratio"),
    *("channels", "output px", "FLOPs", "% of FLOPs", "parameters"),
)
_SIZE_COLUMNS = make_columns("output px", "FLOPs", "% of FLOPs")


def make_stages_table(run_data: RunData) -> ReportTable | None:
    spec = run_data.baseline_spec
    if isinstance(spec, BuiltNetwork):
        return _make_sizes_table(spec)
    if not isinstance(spec, ArchSpec):
        return None
    rows = [
        _make_row(spec, row, column)
        for row, column in zip(stage_costs(spec), make_stage_columns(spec), strict=True)
    ]
    return ReportTable(_COLUMNS, rows, None, _make_note(spec))


def _make_sizes_table(network: BuiltNetwork) -> ReportTable:
    """The FLOPs by the size of the output, from large to small."""
    cost = network.cost()
    rows = [
        [
            Cell(f"{size:.3g}" if size else "1", f"{size}"),
            make_integer_cell(count),
            make_percent_cell(count / cost.flops),
        ]
        for size, count in sorted(network.flops_by_size().items(), reverse=True)
    ]
    note = (
        f"In total {cost.flops:,} FLOPs, {cost.params:,} parameters, {cost.activations:,} "
        f"activations, at {network.resolution} px. {network.builder} builds the network. Each row "
        "has the convolutions, linear layers and matrix products whose output has this height."
    )
    return ReportTable(_SIZE_COLUMNS, rows, None, note)


def _make_row(spec: ArchSpec, row: StageCost, column: StageColumn) -> list[Cell]:
    stage = spec.stages[int(row.name) - 1] if row.name.isdigit() else None
    if stage is not None:
        block_type, stride = BLOCK_KINDS[stage.block].labels[0], stage.stride
    else:
        block_type = "Convolution" if column.depth else EN_DASH
        stride = spec.stem_stride if row.name == "stem" else 1
    count, kernel, stride_cell, channels, output_px = (
        make_integer_cell(value) if column.depth else Cell(EN_DASH, "-1")
        for value in (column.depth, column.kernel, stride, column.width, column.resolution)
    )
    return [
        Cell(row.name),
        Cell(block_type),
        *(count, kernel, stride_cell),
        Cell(column.cells["expansion"]),
        Cell(column.cells["SE"]),
        *(channels, output_px),
        make_integer_cell(row.cost.flops),
        make_percent_cell(column.flops_fraction),
        make_integer_cell(row.cost.params),
    ]


def _make_note(spec: ArchSpec) -> str:
    cost = spec.cost()
    pool = f" A 3{TIMES_SIGN}3 max pooling of stride 2 follows the stem." if spec.stem_pool else ""
    head_convolution = (
        f"a 1{TIMES_SIGN}1 convolution to {spec.head_width:,} channels, " if spec.head_width else ""
    )
    return (
        f"In total {cost.flops:,} FLOPs, {cost.params:,} parameters, {cost.activations:,} "
        f"activations, at {spec.resolution} px.{pool} The head is {head_convolution}pooling and "
        "the classifier."
    )
