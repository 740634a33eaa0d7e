"""The baseline as a table, stage by stage."""

from phinas.reports.formatting import DASH, TIMES
from phinas.reports.network_diagram.columns import NAMES, columns_of
from phinas.reports.run_data import Records
from phinas.reports.tables.cells import Cell, Exhibit, columns, percentage, whole
from phinas.space.cost import cost, stage_costs


def show_stages(records: Records) -> Exhibit | None:
    spec = records.spec
    if spec is None:
        return None
    price = cost(spec)
    rows = []
    for row, column in zip(stage_costs(spec), columns_of(spec), strict=True):
        stage = spec.stages[int(row.name) - 1] if row.name.isdigit() else None
        stride = stage.stride if stage else spec.stem_stride if row.name == "stem" else 1
        kind = NAMES[stage.block][0] if stage else "Convolution" if column.depth else DASH
        sizes = [
            whole(value) if column.depth else Cell(DASH, "-1")
            for value in (column.depth, column.kernel, stride)
        ]
        output = [
            whole(value) if column.depth else Cell(DASH, "-1")
            for value in (column.width, column.side)
        ]
        rows.append(
            [
                Cell(row.name),
                Cell(kind),
                *sizes,
                Cell(column.cells["expansion"]),
                Cell(column.cells["SE"]),
                *output,
                whole(row.cost.flops),
                percentage(column.share),
                whole(row.cost.params),
            ]
        )
    total = f"{price.flops:,} FLOPs, {price.params:,} parameters, {price.activations:,} activations"
    pool = f" A 3{TIMES}3 max pooling of stride 2 follows the stem." if spec.stem_pool else ""
    convolution = (
        f"a 1{TIMES}1 convolution to {spec.head_width:,} channels, " if spec.head_width else ""
    )
    note = (
        f"In all {total}, at {spec.resolution} pixels.{pool} The head is "
        f"{convolution}pooling and the classifier."
    )
    sizes_of = ("blocks", "kernel", "stride", "expansion", "SE", "width", "side")
    return Exhibit(
        columns("stage:", "block:", *sizes_of, "FLOPs", "share", "parameters"), rows, None, note
    )
