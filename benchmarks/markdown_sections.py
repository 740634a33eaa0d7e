"""Paragraphs, tables and sections of a Markdown file."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

_LINE_LENGTH = 100


def paragraph(text: str) -> list[str]:
    """Lines of a wrapped paragraph, and an empty line."""
    lines = textwrap.wrap(
        " ".join(text.split()), _LINE_LENGTH, break_long_words=False, break_on_hyphens=False
    )
    return [*lines, ""]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, and an empty line. The first column is aligned left, the others right."""
    ruler = "|---|" + "--:|" * (len(headers) - 1)
    return [f"| {' | '.join(headers)} |", ruler, *(f"| {' | '.join(row)} |" for row in rows), ""]


def write_section(path: Path, title: str, lines: Sequence[str]) -> None:
    """Replace the section of this title in a file, or append it. Other sections stay unchanged."""
    text = path.read_text() if path.is_file() else ""
    head, *sections = re.split(r"(?m)^(?=## )", text)
    new_section = "\n".join([f"## {title}", "", *lines]).rstrip() + "\n"
    titles = [section.partition("\n")[0] for section in sections]
    if f"## {title}" in titles:
        index = titles.index(f"## {title}")
        sections[index] = new_section
    else:
        sections.append(new_section)
    parts = [part.rstrip() for part in (head, *sections) if part.strip()]
    path.write_text("\n\n".join(parts) + "\n")
