"""The block layout of networks as a file: `phinas describe --draw`."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import write_atomic
from phinas.space.spec import ArchSpec

SUFFIXES = (".svg", ".png")


def write_drawing(networks: Sequence[tuple[str, ArchSpec]], path: Path) -> Path:
    """Draw named networks one below the other on one scale; the path written. Raises InputError
    where it can be no picture.
    """
    path = path.expanduser()
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"--draw: {str(path)!r} ends in neither .svg nor .png, which are drawn; try "
            f"{path.stem or 'network'}.svg"
        )
    if path.is_dir():
        raise InputError(f"--draw: {str(path)!r} is a directory; name a file in it")
    from phinas.reports.figure_export import ReportFigure, render_png, render_svg, report_style
    from phinas.reports.network_diagram.drawing import draw_networks

    with report_style(), warnings.catch_warnings():
        # in a name; the font has no Chinese, say
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = ReportFigure(draw_networks(networks), "")
        content = render_svg(figure) if suffix == ".svg" else render_png(figure)
    try:
        write_atomic(path, content)
    except (FileExistsError, NotADirectoryError):
        raise InputError(
            f"--draw: {str(path.parent)!r} is no directory; name a file in one, new or existing"
        ) from None
    return path
