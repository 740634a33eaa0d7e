"""Which columns of a table hold the images and the labels."""

from collections.abc import Collection, Sequence

from phinas.experiment.errors import InputError

IMAGE_COLUMNS = ("image", "img", "images")
LABEL_COLUMNS = ("label", "labels", "class", "target", "category", "class_name", "y")


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
    available = ", ".join(map(str, columns)) or "none"
    if requested is not None:
        if requested in columns:
            return requested
        raise InputError(
            f"{where}: has no column {requested!r}, only {available}; name another one with "
            f"data.{key}"
        )
    lowered = {column.lower(): column for column in reversed(columns)}
    for name in common:
        if name in lowered:
            return lowered[name]
    kind = "image" if key == "image_column" else "label"
    raise InputError(
        f"{where}: has no column {kind!r}, only {available}; name the column of the {kind}s with "
        f"data.{key}"
    )
