"""A drawn figure, as a file of its own (SVG, PNG) and as SVG inside the page.

Inside the page its colours are the variables of the style sheet, so it follows light and dark; its
text stays text; and what a mark says when pointed at is a `<title>`, which works without a script.
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

from phinas.reports.palette import LIGHT, STYLE

WIDE_INCHES = 8.2
NARROW_INCHES = 3.65
PNG_DPI = 200

_VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}


@dataclass(frozen=True)
class Plate:
    """caption: what the reader sees and how to read it; tips: for the group of marks of that id,
    one text a mark.
    """

    figure: Figure
    caption: str
    tips: Mapping[str, Sequence[str]] = field(default_factory=dict)


def blank(height: float, *, narrow: bool) -> Figure:
    """An empty figure, `height` in inches. 72 dots an inch: a pixel of its layout is a point of its
    text.
    """
    figure = Figure(figsize=(NARROW_INCHES if narrow else WIDE_INCHES, height), dpi=72)
    FigureCanvasAgg(figure)
    return figure


def styled() -> AbstractContextManager[None]:
    """To draw and to save in: matplotlib's defaults with the palette's style, and afterwards what
    there was before.
    """
    return matplotlib.style.context(["default", STYLE])


def as_svg(plate: Plate) -> str:
    """The file: no date in it, ids by hashing, so that the same figure is the same text."""
    buffer = io.StringIO()
    with styled():
        plate.figure.savefig(buffer, format="svg", dpi=PNG_DPI, metadata={"Date": None})
    return buffer.getvalue()


def as_png(plate: Plate) -> bytes:
    buffer = io.BytesIO()
    with styled():
        plate.figure.savefig(buffer, format="png", dpi=PNG_DPI)
    return buffer.getvalue()


def inlined(plate: Plate, *, name: str) -> Markup:
    """The figure as an `<svg>` element. name: unique in the page; all ids in it begin with that."""
    root = ElementTree.fromstring(as_svg(plate))  # noqa: S314  matplotlib wrote it a line ago
    _strip(root)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {
            key.rpartition("}")[2]: _localised(value, name) for key, value in element.attrib.items()
        }
        if "id" in attributes:
            attributes["id"] = f"{name}-{attributes['id']}"
        element.attrib.clear()
        element.attrib.update(attributes)
    for group, texts in plate.tips.items():
        _attach(root, f"{name}-{group}", texts)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": plate.caption.partition(". ")[0],
    }
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))  # noqa: S704  escaped above


def _strip(root: ElementTree.Element) -> None:
    """Remove matplotlib's metadata, and its style element, which would hold for the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)


def _localised(value: str, name: str) -> str:
    """References by id made unique, colours made variables."""
    if value.startswith("#") and value not in _VARIABLES:
        return f"#{name}-{value[1:]}"
    value = value.replace("url(#", f"url(#{name}-")
    return re.sub(
        r"#[0-9a-f]{6}\b", lambda match: _VARIABLES.get(match.group(), match.group()), value
    )


def _attach(root: ElementTree.Element, group: str, texts: Sequence[str]) -> None:
    holder = next((element for element in root.iter() if element.get("id") == group), None)
    marks = list(holder.iter("use")) if holder is not None else []
    if len(marks) == len(texts):
        for mark, text in zip(marks, texts, strict=True):
            mark.set("class", "mark")
            ElementTree.SubElement(mark, "title").text = text
