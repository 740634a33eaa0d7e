"""Export of a figure: as a file (SVG, PNG) and as SVG inside the page.

Inside the page its colors are variables of the style sheet, so that it follows light and dark mode.
Text stays text, and a tooltip is a `<title>`, which needs no script.
"""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from xml.etree import ElementTree

import matplotlib.style
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from phinas.reports.palette import LIGHT_COLORS, RC_PARAMS

WIDE_INCHES = 8.2
COMPACT_INCHES = 3.65
PNG_DPI = 200

_CSS_VARIABLES = {color: f"var(--{name})" for name, color in LIGHT_COLORS.items()}


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes:
        figure: The figure.
        caption: What it shows and how to read it.
        tooltips: For each group of marks, by its id, one text for each mark.
    """

    figure: Figure
    caption: str
    tooltips: Mapping[str, Sequence[str]] = field(default_factory=dict)


def make_figure(height: float, *, compact: bool) -> Figure:
    """An empty figure, `height` in inches, with 72 dots per inch, so that one px is one point."""
    figure = Figure(figsize=(COMPACT_INCHES if compact else WIDE_INCHES, height), dpi=72)
    FigureCanvasAgg(figure)
    return figure


def report_style() -> AbstractContextManager[None]:
    """A context to draw and save in: matplotlib's defaults with the style of the palette. The
    previous style is restored afterwards.
    """
    return matplotlib.style.context(["default", RC_PARAMS])


def render_svg(report_figure: ReportFigure) -> str:
    """The SVG file, without a date and with hashes as ids: the same figure gives the same text."""
    buffer = io.StringIO()
    with report_style():
        report_figure.figure.savefig(buffer, format="svg", dpi=PNG_DPI, metadata={"Date": None})
    return buffer.getvalue()


def render_png(report_figure: ReportFigure) -> bytes:
    buffer = io.BytesIO()
    with report_style():
        report_figure.figure.savefig(buffer, format="png", dpi=PNG_DPI)
    return buffer.getvalue()


def render_inline_svg(report_figure: ReportFigure, *, name: str) -> Markup:
    """The figure as an `<svg>` element.

    Args:
        name: Unique in the page; all ids of the element begin with it.
    """
    root = ElementTree.fromstring(render_svg(report_figure))  # noqa: S314  matplotlib wrote it a line ago
    _strip_metadata(root)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {
            key.rpartition("}")[2]: _localize_attribute(value, name)
            for key, value in element.attrib.items()
        }
        if "id" in attributes:
            attributes["id"] = f"{name}-{attributes['id']}"
        element.attrib.clear()
        element.attrib.update(attributes)
    for group, texts in report_figure.tooltips.items():
        _attach_tooltips(root, f"{name}-{group}", texts)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": report_figure.caption.partition(". ")[0],
    }
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))  # noqa: S704  escaped above


def _strip_metadata(root: ElementTree.Element) -> None:
    """Remove matplotlib's metadata, and its style element, which would apply to the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)


def _localize_attribute(value: str, name: str) -> str:
    """Make references by id unique and colors variables."""
    if value.startswith("#") and value not in _CSS_VARIABLES:
        return f"#{name}-{value[1:]}"
    value = value.replace("url(#", f"url(#{name}-")
    return re.sub(
        r"#[0-9a-f]{6}\b", lambda match: _CSS_VARIABLES.get(match.group(), match.group()), value
    )


def _attach_tooltips(root: ElementTree.Element, group: str, texts: Sequence[str]) -> None:
    group_element = next((element for element in root.iter() if element.get("id") == group), None)
    marks = list(group_element.iter("use")) if group_element is not None else []
    if len(marks) == len(texts):
        for mark, text in zip(marks, texts, strict=True):
            mark.set("class", "mark")
            ElementTree.SubElement(mark, "title").text = text
