"""Sentences of the report and the terminal, from the templates in `templates/sentences`.

Code decides the case and passes plain values; the template of the case has the words.
"""

import re
from collections.abc import Sequence
from functools import cache

import jinja2

from phinas.reports.formatting import (
    format_cost,
    format_count,
    format_percent,
    format_points,
    join_names,
    pluralize,
)


def render(topic: str, macro: str, /, **values: object) -> str:
    """Render one macro of `templates/sentences/<topic>.jinja`.

    Args:
        topic: The name of the file.
        macro: The name of the macro.
        values: Its arguments.

    Returns:
        The text in one line; "" if the macro has no text for these values.
    """
    module = _environment().get_template(f"sentences/{topic}.jinja").module
    text = str(getattr(module, macro)(**values))
    # no-break spaces stay
    return re.sub(r"[ \n]+", " ", text).strip()


def list_sentences(*sentences: str) -> list[str]:
    """The sentences that are not empty."""
    return [sentence for sentence in sentences if sentence]


def capitalize(text: str) -> str:
    """Capitalize the first letter and leave the rest as it is."""
    return f"{text[:1].upper()}{text[1:]}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phinas.reports", "templates"),
        autoescape=False,  # noqa: S701  plain text, which the page escapes
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": format_percent,
        "count": format_count,
        "cost": lambda value, cost_metric: format_cost(cost_metric, value),
        "points": format_points,
        "interval": _format_point_interval,
        "plural": pluralize,
        "names": join_names,
        "cap": capitalize,
        "minus": lambda text: str(text).replace("-", "\N{MINUS SIGN}"),
    }
    return environment


def _format_point_interval(interval: Sequence[float]) -> str:
    """A 95% interval of a difference of scores, in points."""
    low, high = interval
    return f"95% CI {format_points(low)} to {format_points(high)}"
