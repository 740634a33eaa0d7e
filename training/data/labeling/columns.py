"""Which columns of a table hold the images and the labels."""

import re
from collections.abc import Collection, Sequence

from phinas.experiment.errors import InputError

IMAGE_COLUMNS = ("image", "img", "images")
LABEL_COLUMNS = (
    *("label", "labels", "class", "target", "category", "class_name", "y", "cls"),
    *("class_label", "label_name", "category_name", "finding_labels", "class_id", "label_id"),
)
_MAX_COLUMNS = 20  # that a message lists


def find_column(
    columns: Sequence[str], requested: str | None, common: Collection[str], *, key: str, where: str
) -> str:
    """The column that the user requested, or else the first of the common names that is present.

    Args:
        columns: The columns of the table.
        requested: The value of the configuration key.
        common: Names in lower case.
        key: The configuration key, image_column or label_column.
        where: The table, which begins a message.

    Raises:
        InputError: The table has none of them.
    """
    available = ", ".join(map(str, columns[:_MAX_COLUMNS])) or "none"
    if len(columns) > _MAX_COLUMNS:
        available += f" and {len(columns) - _MAX_COLUMNS:,} more"
    if requested is not None:
        if requested in columns:
            return requested
        raise InputError(
            f"{where} has no column {requested!r}, only {available}; name another one with "
            f"data.{key}"
        )
    column = find_common(columns, common)
    if column is not None:
        return column
    kind = "image" if key == "image_column" else "label"
    raise InputError(
        f"{where} has no column {kind!r}, only {available}; name the column of the {kind}s with "
        f"data.{key}"
    )


def find_common(columns: Sequence[str], common: Collection[str]) -> str | None:
    """The column with the first of the common names that is present.

    Upper and lower case, spaces, underscores and hyphens make no difference.
    """
    simplified = {_simplify(column): column for column in reversed(columns)}
    return next(
        (simplified[_simplify(name)] for name in common if _simplify(name) in simplified), None
    )


def _simplify(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())
