"""`phinas list`: the names that options accept, each with a summary."""

from collections.abc import Sequence
from dataclasses import dataclass

from phinas.api.arguments import checked_arguments
from phinas.experiment.errors import InputError
from phinas.options.names import NAME_TABLES
from phinas.space.closest_name import suggest_name
from phinas.terminal.text_table import Column, format_table

# The option that takes a name of each table.
_OPTIONS = {
    "presets": "--baseline, --reference and the SPEC of describe, export, fit and latency",
    "spaces": "--space",
    "recipes": "--recipe",
    "strategies": "--strategy",
    "evaluators": "--evaluator",
    "pruners": "--pruner",
    "sources": "--data",
}


@dataclass(frozen=True)
class NameTables:
    """The names that options accept.

    Attributes:
        tables: For each table, such as "presets", a summary of each name.
    """

    tables: dict[str, dict[str, str]]

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Plain data."""
        return self.tables


@checked_arguments()
def list_names(*tables: str) -> NameTables:
    """List the names that options accept: presets, search spaces, recipes and the like.

    Args:
        *tables: "presets", "spaces", "recipes", "strategies", "evaluators", "pruners" or "sources".
            Without any, all of them.

    Returns:
        The tables, with a summary of each name.

    Raises:
        InputError: A table is unknown.

    Examples:
        >>> phinas.list_names("recipes").tables["recipes"]["quick"]
        '3 epochs, to see whether a network learns at all'
    """
    for table in tables:
        if table not in _OPTIONS:
            hint = suggest_name(table, _OPTIONS) or f"use {', '.join(_OPTIONS)}"
            raise InputError(f"tables: {table!r} is not a table of names; {hint}")
    return NameTables({table: dict(NAME_TABLES[table]()) for table in tables or _OPTIONS})


def as_text(result: NameTables, *, width: int | None = None) -> str:
    """The tables, each below the options that take its names.

    Args:
        result: The result of `list_names`.
        width: Maximum number of characters in a line, or None for no limit.
    """
    lines: list[str] = []
    for table, names in result.tables.items():
        lines += [""] * bool(lines)
        lines.append(f"{table} (for {_OPTIONS[table]})")
        lines += _table_lines(list(names.items()), width=width)
    return "\n".join(lines)


def _table_lines(rows: Sequence[tuple[str, str]], *, width: int | None) -> list[str]:
    columns = [Column("name", "left"), Column("meaning", "left", wrap=True)]
    lines = format_table(columns, [list(row) for row in rows], width=width and width - 2)
    return [f"  {line}" for line in lines[1:]]
