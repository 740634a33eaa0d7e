"""Contestants that take turns, ratios of neighbors in time, and what is written of them in a
Markdown file.
"""

import re
import statistics
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def time_rounds(
    functions: Mapping[str, Callable[[], object]], count: int
) -> dict[str, list[float]]:
    """Seconds of each in each round; who begins changes, so that nobody always follows the same
    one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for number in range(count):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            functions[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def format_median_and_quartiles(values: Sequence[float], digits: int = 2) -> str:
    """Median, and the quartiles where there are enough values for any."""
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) < 4:
        return median
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median} ({low:,.{digits}f} to {high:,.{digits}f})"


def speedups(seconds: Mapping[str, Sequence[float]], slow: str, fast: str) -> list[float]:
    """How many times as fast `quick` was, round by round."""
    return [
        slow_seconds / fast_seconds
        for slow_seconds, fast_seconds in zip(seconds[slow], seconds[fast], strict=True)
    ]


def paragraph(text: str) -> list[str]:
    """Lines of at most 128 characters, and an empty one."""
    return [
        *textwrap.wrap(" ".join(text.split()), 128, break_long_words=False, break_on_hyphens=False),
        "",
    ]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column is words, the others are numbers."""
    ruler = "|---|" + "--:|" * (len(headers) - 1)
    return [f"| {' | '.join(headers)} |", ruler, *(f"| {' | '.join(row)} |" for row in rows), ""]


def write_section(path: Path, title: str, lines: Sequence[str]) -> None:
    """Put a section in the place of the one with its title, or at the end; what stands elsewhere
    stays.
    """
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
