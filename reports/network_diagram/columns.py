"""A network as it is drawn: columns from stem to head, each of boxes, one a block. No matplotlib.

A box is what it is by its kind (of `phinas.space.spec.BLOCKS`, or `pool` or `linear`), and as large
as what it puts out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from phinas.reports.formatting import DASH, TIMES
from phinas.space.cost import stage_costs
from phinas.space.layers import lower, reduced
from phinas.space.spec import BLOCKS, ArchSpec

# Of each kind of block: its name, and shorter ones for less room.
NAMES = {
    "mbconv": ("MBConv", "MB"),
    "fused_mbconv": ("Fused-MBConv", "Fused", "F"),
    "bottleneck": ("Bottleneck", "Btl", "B"),
    "separable": ("Depthwise-separable", "Separable", "Sep", "S"),
    "conv": ("Convolution", "Conv", "C"),
    "identity": ("left out", "out", ""),
}
# Rows of text below the boxes. expansion: hidden width over input width; of a bottleneck, hidden
# over output width.
ROWS = ("kernel", "expansion", "SE", "activation", "width", "blocks", "side")


@dataclass(frozen=True, slots=True)
class Box:
    """kernel 0: not a convolution. width: output channels; side: of the output. shortcut: the input
    is added.
    """

    kind: str
    kernel: int
    width: int
    side: int
    se: bool = False
    shortcut: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """Stem, a stage or the head. kind: its block's, or "stem", "head". share: of the network's
    FLOPs. cells: of ROWS.
    """

    name: str
    kind: str
    boxes: tuple[Box, ...]
    side: int
    flops: int
    share: float
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


def columns_of(spec: ArchSpec) -> list[Column]:
    """Stem, stages and head."""
    first, *stages, last = stage_costs(spec)
    whole = sum(row.cost.flops for row in (first, *stages, last))
    stem_side = reduced(spec.resolution, spec.stem_stride)
    stem = (Box("conv", spec.stem_kernel, spec.stem_width, stem_side),)
    pool = (Box("pool", 0, spec.stem_width, first.side),) if spec.stem_pool else ()
    columns = [
        _column(
            "stem",
            "stem",
            (*stem, *pool),
            first.side,
            first.cost.flops,
            whole,
            activation=spec.activation,
        )
    ]
    for row, stage, blocks in zip(stages, spec.stages, lower(spec).stages, strict=True):
        idle = BLOCKS[stage.block]
        boxes = tuple(
            Box(
                stage.block,
                stage.kernel,
                stage.width,
                row.side,
                bool(stage.se) and "se" not in idle,
                block.shortcut,
            )
            for block in blocks
        )
        over = "1/" if stage.block == "bottleneck" else ""
        cells = {} if "expansion" in idle else {"expansion": f"{over}{stage.expansion:g}"}
        if stage.se and "se" not in idle:
            cells["SE"] = f"{stage.se:g}"
        activation = (stage.activation or spec.activation) if boxes else ""
        columns.append(
            _column(
                row.name,
                stage.block,
                boxes,
                row.side,
                row.cost.flops,
                whole,
                activation=activation,
                cells=cells,
            )
        )
    side = stages[-1].side
    head = (Box("conv", 1, spec.head_width, side),) if spec.head_width else ()
    boxes = (*head, Box("linear", 0, spec.classes, 1))
    activation = spec.activation if head else ""
    columns.append(
        _column("head", "head", boxes, side, last.cost.flops, whole, activation=activation)
    )
    return columns


def _column(
    name: str,
    kind: str,
    boxes: tuple[Box, ...],
    side: int,
    flops: int,
    whole: int,
    *,
    activation: str,
    cells: dict[str, str] | None = None,
) -> Column:
    convolutions = [box for box in boxes if box.kernel]
    told = dict.fromkeys(ROWS, DASH) | (cells or {})
    told["activation"] = activation or DASH
    if convolutions:
        box = convolutions[0]
        told |= {"kernel": f"{box.kernel}{TIMES}{box.kernel}", "width": str(box.width)}
        told |= {"blocks": str(len(convolutions)), "side": str(side)}
    return Column(name, kind, boxes, side, flops, flops / whole, told)


def rows_of(networks: Sequence[Sequence[Column]]) -> tuple[str, ...]:
    """The rows of text that tell something: none of dashes only, and activations only where a
    network has several.
    """

    def told(row: str, columns: Sequence[Column]) -> int:
        return len({column.cells[row] for column in columns} - {DASH})

    return tuple(
        row
        for row in ROWS
        if max(told(row, columns) for columns in networks) > (row == "activation")
    )
