"""The block layout of networks as a file: `phinas describe --draw`."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import write_atomic
from phinas.space.spec import ArchSpec

SUFFIXES = (".svg", ".png")


def write_drawing(networks: Sequence[tuple[str, ArchSpec]], path: Path) -> Path:
    """Draw the block layouts of networks one below the other, on one scale.

    Args:
        networks: Each network with its name.
        path: The file to write, .svg or .png.

    Returns:
        The file that was written.

    Raises:
        InputError: The file is neither .svg nor .png, or cannot be written.
    """
    path = path.expanduser()
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"draw: {str(path)!r} ends in neither .svg nor .png; try {path.stem or 'network'}.svg"
        )
    if path.is_dir():
        raise InputError(f"draw: {str(path)!r} is a directory; name a file in it")
    from phinas.reports.figure_export import ReportFigure, render_png, render_svg, report_style
    from phinas.reports.network_diagram.drawing import draw_networks

    with report_style(), warnings.catch_warnings():
        # a name may have characters that the font lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = ReportFigure(draw_networks(networks), "")
        content = render_svg(figure) if suffix == ".svg" else render_png(figure)
    try:
        write_atomic(path, content)
    except (FileExistsError, NotADirectoryError):
        raise InputError(
            f"draw: {str(path.parent)!r} is not a directory; name a file in a directory"
        ) from None
    return path
