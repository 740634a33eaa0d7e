"""A network as it is drawn: columns from stem to head, each of boxes, one a block. No matplotlib.

A box is what it is by its kind (of `phinas.space.spec.BLOCKS`, or `pool` or `linear`), and as large
as what it puts out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from phinas.reports.formatting import EN_DASH, TIMES_SIGN
from phinas.space.cost import stage_costs
from phinas.space.layers import lower, output_resolution
from phinas.space.spec import UNUSED_FIELDS, ArchSpec

# Of each kind of block: its name, and shorter ones for less room.
BLOCK_NAMES = {
    "mbconv": ("MBConv", "MB"),
    "fused_mbconv": ("Fused-MBConv", "Fused", "F"),
    "bottleneck": ("Bottleneck", "Btl", "B"),
    "separable": ("Depthwise-separable", "Separable", "Sep", "S"),
    "conv": ("Convolution", "Conv", "C"),
    "identity": ("left out", "out", ""),
}
# Rows of text below the boxes. expansion: hidden width over input width; of a bottleneck, hidden
# over output width.
CELL_ROWS = ("kernel", "expansion", "SE", "activation", "width", "blocks", "side")


@dataclass(frozen=True, slots=True)
class BlockBox:
    """kernel 0: not a convolution. width: output channels; resolution: of the output. shortcut: the
    input is added.
    """

    kind: str
    kernel: int
    width: int
    resolution: int
    se: bool = False
    shortcut: bool = False


@dataclass(frozen=True, slots=True)
class StageColumn:
    """Stem, a stage or the head. kind: its block's, or "stem", "head". flops_fraction: of the
    network's FLOPs. cells: of CELL_ROWS.
    """

    name: str
    kind: str
    boxes: tuple[BlockBox, ...]
    resolution: int
    flops: int
    flops_fraction: float
    cells: dict[str, str]

    @property
    def depth(self) -> int:
        """Blocks of a stage, none where it is left out; convolutions of stem and head."""
        return sum(box.kernel > 0 for box in self.boxes)

    @property
    def kernel(self) -> int:
        return self.boxes[0].kernel if self.depth else 0

    @property
    def width(self) -> int:
        return self.boxes[0].width if self.depth else 0


def make_stage_columns(spec: ArchSpec) -> list[StageColumn]:
    """Stem, stages and head."""
    stem_cost, *stages, head_cost = stage_costs(spec)
    total_flops = sum(row.cost.flops for row in (stem_cost, *stages, head_cost))
    stem_resolution = output_resolution(spec.resolution, spec.stem_stride)
    stem = (BlockBox("conv", spec.stem_kernel, spec.stem_width, stem_resolution),)
    pool = (BlockBox("pool", 0, spec.stem_width, stem_cost.resolution),) if spec.stem_pool else ()
    columns = [
        _make_column(
            "stem",
            "stem",
            (*stem, *pool),
            stem_cost.resolution,
            stem_cost.cost.flops,
            total_flops,
            activation=spec.activation,
        )
    ]
    for row, stage, blocks in zip(stages, spec.stages, lower(spec).stages, strict=True):
        inactive_choices = UNUSED_FIELDS[stage.block]
        boxes = tuple(
            BlockBox(
                stage.block,
                stage.kernel,
                stage.width,
                row.resolution,
                bool(stage.se) and "se" not in inactive_choices,
                block.shortcut,
            )
            for block in blocks
        )
        expansion_prefix = "1/" if stage.block == "bottleneck" else ""
        cells = (
            {}
            if "expansion" in inactive_choices
            else {"expansion": f"{expansion_prefix}{stage.expansion:g}"}
        )
        if stage.se and "se" not in inactive_choices:
            cells["SE"] = f"{stage.se:g}"
        activation = (stage.activation or spec.activation) if boxes else ""
        columns.append(
            _make_column(
                row.name,
                stage.block,
                boxes,
                row.resolution,
                row.cost.flops,
                total_flops,
                activation=activation,
                extra_cells=cells,
            )
        )
    resolution = stages[-1].resolution
    head = (BlockBox("conv", 1, spec.head_width, resolution),) if spec.head_width else ()
    boxes = (*head, BlockBox("linear", 0, spec.classes, 1))
    activation = spec.activation if head else ""
    columns.append(
        _make_column(
            "head",
            "head",
            boxes,
            resolution,
            head_cost.cost.flops,
            total_flops,
            activation=activation,
        )
    )
    return columns


def _make_column(
    name: str,
    kind: str,
    boxes: tuple[BlockBox, ...],
    resolution: int,
    flops: int,
    total_flops: int,
    *,
    activation: str,
    extra_cells: dict[str, str] | None = None,
) -> StageColumn:
    convolutions = [box for box in boxes if box.kernel]
    cells = dict.fromkeys(CELL_ROWS, EN_DASH) | (extra_cells or {})
    cells["activation"] = activation or EN_DASH
    if convolutions:
        box = convolutions[0]
        cells |= {"kernel": f"{box.kernel}{TIMES_SIGN}{box.kernel}", "width": str(box.width)}
        cells |= {"blocks": str(len(convolutions)), "side": str(resolution)}
    return StageColumn(name, kind, boxes, resolution, flops, flops / total_flops, cells)


def select_informative_rows(networks: Sequence[Sequence[StageColumn]]) -> tuple[str, ...]:
    """The rows of text with information: none of dashes only, and activations only where a
    network has several.
    """

    def count_values(row: str, columns: Sequence[StageColumn]) -> int:
        return len({column.cells[row] for column in columns} - {EN_DASH})

    return tuple(
        row
        for row in CELL_ROWS
        if max(count_values(row, columns) for columns in networks) > (row == "activation")
    )
