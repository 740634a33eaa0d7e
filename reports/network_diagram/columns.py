"""The columns of a drawn network, from stem to head, with a box for each block. No matplotlib.

The kind of a box is one of `phinas.space.block_kinds.BLOCK_KINDS`, or `pool` or `linear`. Its size
is that of its output.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from phinas.reports.formatting import EN_DASH, TIMES_SIGN
from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.block_kinds.block import Block
from phinas.space.cost import StageCost, stage_costs
from phinas.space.layers import lower, output_resolution
from phinas.space.spec import ArchSpec
from phinas.space.stage_spec import StageSpec

# Rows of text below the boxes. expansion: hidden width over input width; of a bottleneck, hidden
# over output width.
CELL_ROWS = ("kernel", "expansion", "SE", "activation", "width", "blocks", "px")


@dataclass(frozen=True, slots=True)
class BlockBox:
    """A block.

    Attributes:
        kind: A kind of block, "pool" or "linear".
        kernel: 0: not a convolution.
        width: Output channels.
        resolution: Of the output, in px.
        se: With squeeze-and-excitation.
        shortcut: The input is added to the output.
    """

    kind: str
    kernel: int
    width: int
    resolution: int
    se: bool = False
    shortcut: bool = False


@dataclass(frozen=True, slots=True)
class StageColumn:
    """Stem, a stage or the head.

    Attributes:
        name: "stem", the number of the stage, or "head".
        kind: The kind of its blocks, "stem" or "head".
        boxes: Its blocks.
        resolution: Of the output, in px.
        flops: Multiply-adds.
        flops_fraction: Fraction of the network's FLOPs.
        cells: Texts of CELL_ROWS.
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
        """Blocks of a stage (0: it is skipped), or convolutions of stem and head."""
        return sum(box.kernel > 0 for box in self.boxes)

    @property
    def kernel(self) -> int:
        return self.boxes[0].kernel if self.depth else 0

    @property
    def width(self) -> int:
        return self.boxes[0].width if self.depth else 0


def make_stage_columns(spec: ArchSpec) -> list[StageColumn]:
    """Stem, stages and head."""
    stem_cost, *stage_rows, head_cost = stage_costs(spec)
    total_flops = sum(row.cost.flops for row in (stem_cost, *stage_rows, head_cost))
    stages = [
        _make_stage_column(spec, stage, blocks, row, total_flops)
        for row, stage, blocks in zip(stage_rows, spec.stages, lower(spec).stages, strict=True)
    ]
    resolution = stage_rows[-1].resolution
    return [
        _make_stem_column(spec, stem_cost, total_flops),
        *stages,
        _make_head_column(spec, head_cost, total_flops, resolution=resolution),
    ]


def _make_stem_column(spec: ArchSpec, row: StageCost, total_flops: int) -> StageColumn:
    resolution = output_resolution(spec.resolution, spec.stem_stride)
    stem = (BlockBox("conv", spec.stem_kernel, spec.stem_width, resolution),)
    pool = (BlockBox("pool", 0, spec.stem_width, row.resolution),) if spec.stem_pool else ()
    return _make_column(
        "stem",
        "stem",
        (*stem, *pool),
        row.resolution,
        row.cost.flops,
        total_flops,
        activation=spec.activation,
    )


def _make_stage_column(
    spec: ArchSpec, stage: StageSpec, blocks: Sequence[Block], row: StageCost, total_flops: int
) -> StageColumn:
    kind = BLOCK_KINDS[stage.block]
    has_se = bool(stage.se) and "se" not in kind.unused_fields
    boxes = tuple(
        BlockBox(
            stage.block, stage.kernel, stage.width, row.resolution, has_se, shortcut=block.shortcut
        )
        for block in blocks
    )
    cells = {}
    if "expansion" not in kind.unused_fields:
        cells["expansion"] = f"{kind.expansion_prefix}{stage.expansion:g}"
    if has_se:
        cells["SE"] = f"{stage.se:g}"
    return _make_column(
        row.name,
        stage.block,
        boxes,
        row.resolution,
        row.cost.flops,
        total_flops,
        activation=(stage.activation or spec.activation) if boxes else "",
        extra_cells=cells,
    )


def _make_head_column(
    spec: ArchSpec, row: StageCost, total_flops: int, *, resolution: int
) -> StageColumn:
    head = (BlockBox("conv", 1, spec.head_width, resolution),) if spec.head_width else ()
    return _make_column(
        "head",
        "head",
        (*head, BlockBox("linear", 0, spec.classes, 1)),
        resolution,
        row.cost.flops,
        total_flops,
        activation=spec.activation if head else "",
    )


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
        cells |= {"blocks": str(len(convolutions)), "px": str(resolution)}
    return StageColumn(name, kind, boxes, resolution, flops, flops / total_flops, cells)


def select_informative_rows(networks: Sequence[Sequence[StageColumn]]) -> tuple[str, ...]:
    """The rows of text with information: not those with dashes only, and activations only where a
    network has several.
    """

    def count_values(row: str, columns: Sequence[StageColumn]) -> int:
        return len({column.cells[row] for column in columns} - {EN_DASH})

    return tuple(
        row
        for row in CELL_ROWS
        if max(count_values(row, columns) for columns in networks) > (row == "activation")
    )
