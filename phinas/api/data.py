"""`phinas data`: a data set, what is wrong with it, and which resolutions and spaces it is large
enough for.
"""

import tempfile
from pathlib import Path
from typing import Any

from phinas.experiment.schema.config import DataSection
from phinas.reports.formatting import pluralize
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import load_space
from phinas.terminal.text_table import Column, format_table

_MAX_CLASSES = 12


def data(section: DataSection, *, seed: int = 0) -> dict[str, Any]:
    """As plain data: phinas.training.data.dataset_audit.DatasetAudit, and of each shipped space the
    pixels that its networks see. Reads all images, and splits them as a run with this seed would.
    Raises InputError as a run would."""
    from phinas.training.data.dataset_audit import audit_dataset
    from phinas.training.data.prepared_dataset import prepare

    with tempfile.TemporaryDirectory(prefix="phinas-data-") as directory:
        audit = audit_dataset(prepare(section, seed=seed, directory=Path(directory))).to_dict()
    resolutions = {name: max(load_space(name).resolutions) for name in SPACES}
    return audit | {
        "spaces": {
            name: {"resolution": resolution, "fits": resolution <= audit["image_size"]}
            for name, resolution in resolutions.items()
        }
    }


def as_text(audit: dict[str, Any], *, width: int | None = None) -> str:
    """Sizes, classes, problems, and the spaces that fit; tables have lines of `width`
    characters.
    """
    splits = ", ".join(f"{count:,} {split}" for split, count in audit["images"].items())
    lines = [
        f"{audit['name']}: {splits}; {audit['image_size']} pixels of a side, "
        f"{pluralize(audit['channels'], 'channel')}; "
        f"{pluralize(len(audit['classes']), 'class', 'classes')}",
        *_class_table(audit, width=width),
        *_group_line(audit),
        "the test split tells two accuracies near 80% apart from "
        f"{100 * audit['min_detectable_difference']:.1f} "
        "points on "
        "(95%, independent "
        f"errors{', which those of one group hardly are' if audit['groups'] else ''})",
        *_space_lines(audit),
    ]
    problems = audit["problems"]
    return "\n".join(
        [*lines, *(f"problem: {problem}" for problem in problems)]
        if problems
        else [*lines, "no problems found"]
    )


def _class_table(audit: dict[str, Any], *, width: int | None) -> list[str]:
    """The classes by size; of more than twelve the largest and the smallest."""
    classes = sorted(audit["classes"], key=lambda row: (-row["train"], row["name"]))
    splits = ("train", "validation", "test")
    rows = [[row["name"], *(f"{row[split]:,}" for split in splits)] for row in classes]
    if len(rows) > _MAX_CLASSES:
        half = _MAX_CLASSES // 2
        rows[half:-half] = [[f"... {len(rows) - 2 * half} more", "", "", ""]]
    columns = [Column("class", "left"), *(Column(split) for split in splits)]
    return format_table(columns, rows, width=width)


def _group_line(audit: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{count:,} {split}" for split, count in audit["groups"].items())
    return [f"groups: {counts}"] if counts else []


def _space_lines(audit: dict[str, Any]) -> list[str]:
    """Networks may see from a few pixels up to the side that images are stored at."""
    fit = [f"{name} ({row['resolution']})" for name, row in audit["spaces"].items() if row["fits"]]
    larger = [
        f"{name} ({row['resolution']})" for name, row in audit["spaces"].items() if not row["fits"]
    ]
    lines = [
        f"networks may see up to {audit['image_size']} pixels; spaces that fit: "
        f"{', '.join(fit) or 'none'}"
    ]
    return (
        [*lines, f"larger, so with --resolution or --upsample: {', '.join(larger)}"]
        if larger
        else lines
    )
