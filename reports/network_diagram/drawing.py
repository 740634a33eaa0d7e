"""Networks drawn from image to classes: a panel for each, with its title and the legend."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phinas.reports.figure_export import make_figure
from phinas.reports.formatting import TIMES_SIGN, format_count, pluralize
from phinas.reports.network_diagram.columns import make_stage_columns, select_informative_rows
from phinas.reports.network_diagram.glyphs import (
    draw_legend,
    make_legend_lines,
    measure_text_width,
)
from phinas.reports.network_diagram.panel import compute_panel_height, draw_panel
from phinas.reports.network_diagram.scale import fit_scale, make_default_scale
from phinas.reports.palette import MUTED_COLOR, TEXT_COLOR
from phinas.space.spec import ArchSpec

_TITLE_HEIGHT = 34.0  # points
_MAX_WIDTH = 10.5 * 72


def draw_networks(
    networks: Sequence[tuple[str, ArchSpec]], *, compact: bool = False, show_titles: bool = True
) -> Figure:
    """Draw networks, one below the other.

    Args:
        networks: Name and network.
        compact: For a narrow page.
        show_titles: With name and cost above each network.
    """
    columns_by_network = [make_stage_columns(spec) for _, spec in networks]
    rows = select_informative_rows(columns_by_network)
    default = make_default_scale(columns_by_network, rows, compact=compact)
    margin, title = (10.0, _TITLE_HEIGHT) if show_titles else (1.0, 0.0)
    figure = make_figure(1.0, compact=compact)
    width = 72 * figure.get_figwidth() - 2 * margin
    if show_titles:
        width = min(_MAX_WIDTH - 2 * margin, max(width, default.width(columns_by_network)))
    scale = fit_scale(default, columns_by_network, width)
    lines = make_legend_lines(
        [column for columns in columns_by_network for column in columns], width=width
    )
    heights = [title + compute_panel_height(columns, scale) for columns in columns_by_network]
    top = sum(heights) + 14 * len(lines)
    figure.set_size_inches((width + 2 * margin) / 72, (top + 2 * margin) / 72)
    axes = figure.add_axes(
        (0, 0, 1, 1), xlim=(-margin, width + margin), ylim=(-margin, top + margin)
    )
    axes.set_axis_off()
    for (name, spec), columns, height in zip(networks, columns_by_network, heights, strict=True):
        if show_titles:
            _write_title(axes, name, spec, top=top, width=width)
        draw_panel(axes, columns, scale, top=top - title, width=width)
        top -= height
    draw_legend(axes, lines, top=top)
    return figure


def _write_title(axes: Axes, name: str, spec: ArchSpec, *, top: float, width: float) -> None:
    """The name, and below it input, output and cost."""
    name = name if len(name) <= 200 else "..." + name[-197:]
    while 1.15 * measure_text_width(name, 10.5) > width and len(name) > 8:
        name = "..." + name[8:]
    cost = spec.cost()
    memory = format_count(cost.inference_bytes())
    activations = {stage.activation or spec.activation for stage in spec.stages} | {spec.activation}
    parts = (
        f"{spec.resolution}{TIMES_SIGN}{spec.resolution}{TIMES_SIGN}{spec.channels} to "
        f"{pluralize(spec.classes, 'class', 'classes')}",
        f"{format_count(cost.flops)} FLOPs",
        f"{format_count(cost.params)} parameters",
        f"{format_count(cost.activations)} activations",
        f"{memory[:-1]} {memory[-1]}B for inference",
        *(activations if len(activations) == 1 else ()),
    )
    axes.text(
        0, top - 6, name, ha="left", va="center", fontsize=10.5, fontweight="bold", color=TEXT_COLOR
    )
    axes.text(
        0, top - 21, "   ".join(parts), ha="left", va="center", fontsize=8.5, color=MUTED_COLOR
    )
