"""`phinas data`: a data set, what is wrong with it, and which resolutions and spaces it is large
enough for.
"""

import tempfile
from pathlib import Path
from typing import Any

from phinas.experiment.schema.config import DataSection
from phinas.reports.formatting import counted
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import load_space

_LISTED = 12


def data(section: DataSection, *, seed: int = 0) -> dict[str, Any]:
    """As plain data: phinas.training.data.dataset_audit.Census, and of each shipped space the
    pixels that its networks see. Reads all images, and splits them as a run with this seed would.
    Raises InputError as a run would."""
    from phinas.training.data.dataset_audit import take_census
    from phinas.training.data.prepared_dataset import prepare

    with tempfile.TemporaryDirectory(prefix="phinas-data-") as directory:
        facts = take_census(prepare(section, seed=seed, directory=Path(directory))).to_dict()
    needs = {name: max(load_space(name).resolutions) for name in SPACES}
    return facts | {
        "spaces": {
            name: {"side": side, "fits": side <= facts["side"]} for name, side in needs.items()
        }
    }


def as_text(facts: dict[str, Any]) -> str:
    """For a person: sizes, classes, problems, and what fits."""
    splits = ", ".join(f"{count:,} {split}" for split, count in facts["images"].items())
    lines = [
        f"{facts['name']}: {splits}; {facts['side']} pixels of a side, "
        f"{counted(facts['channels'], 'channel')}; "
        f"{counted(len(facts['classes']), 'class', 'classes')}",
        *_classes(facts),
        *_groups(facts),
        f"the test split tells two accuracies near 80% apart from {100 * facts['told_apart']:.1f} "
        "points on "
        "(95%, independent "
        f"errors{', which those of one group hardly are' if facts['groups'] else ''})",
        *_fitting(facts),
    ]
    problems = facts["problems"]
    return "\n".join(
        [*lines, *(f"problem: {problem}" for problem in problems)]
        if problems
        else [*lines, "no problems found"]
    )


def _classes(facts: dict[str, Any]) -> list[str]:
    """The largest and the smallest, if they are many."""
    rows = sorted(facts["classes"], key=lambda row: (-row["train"], row["name"]))
    half = _LISTED // 2
    shown = rows if len(rows) <= _LISTED else [*rows[:half], None, *rows[-half:]]
    width = max(len(row["name"]) for row in rows)
    lines = [f"  {'class':<{width}}{'train':>8}{'validation':>12}{'test':>8}"]
    for row in shown:
        if row is None:
            lines.append(f"  ... {len(rows) - 2 * half} more")
        else:
            lines.append(
                "  "
                f"{row['name']:<{width}}{row['train']:>8,}{row['validation']:>12,}{row['test']:>8,}"
            )
    return lines


def _groups(facts: dict[str, Any]) -> list[str]:
    told = ", ".join(f"{count:,} {split}" for split, count in facts["groups"].items())
    return [f"groups: {told}"] if told else []


def _fitting(facts: dict[str, Any]) -> list[str]:
    """Networks may see from a few pixels up to the side that images are stored at."""
    fit = [f"{name} ({row['side']})" for name, row in facts["spaces"].items() if row["fits"]]
    larger = [f"{name} ({row['side']})" for name, row in facts["spaces"].items() if not row["fits"]]
    lines = [
        f"networks may see up to {facts['side']} pixels; spaces that fit: "
        f"{', '.join(fit) or 'none'}"
    ]
    return (
        [*lines, f"larger, so with --resolution or --upsample: {', '.join(larger)}"]
        if larger
        else lines
    )
