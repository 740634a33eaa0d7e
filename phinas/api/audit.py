"""`phinas audit`: a data set, its problems, and the search spaces that its images suit."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.options.config_building import build_config
from phinas.reports.formatting import pluralize
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import load_space
from phinas.terminal.text_table import Column, format_table

if TYPE_CHECKING:
    from phinas.training.data.dataset_audit import DatasetAudit

_MAX_CLASSES = 12


@dataclass(frozen=True)
class SpaceFit:
    """Whether the images are large enough for a search space.

    Attributes:
        resolution: The largest resolution of its networks in px.
        fits: Whether the images have at least this size.
    """

    resolution: int
    fits: bool


@dataclass(frozen=True)
class AuditResult:
    """The audit of a data set.

    Attributes:
        dataset: Sizes, classes, duplicates and wrong labels.
        problems: What makes scores on it worth less, each with its remedy, the worst first.
        spaces: For each search space that phinas ships whether the images are large enough.
    """

    dataset: "DatasetAudit"
    problems: tuple[str, ...]
    spaces: dict[str, SpaceFit]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        spaces = {
            name: {"resolution": space.resolution, "fits": space.fits}
            for name, space in self.spaces.items()
        }
        return self.dataset.to_dict() | {"problems": list(self.problems), "spaces": spaces}


def audit(
    data: str,
    *,
    seed: int = 0,
    group_by: str | None = None,
    skip_bad_images: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> AuditResult:
    """Audit the images of a data set. All of them are read; nothing is written.

    Args:
        data: "digits", a path (class folders, Parquet files or an .npz file), "hf:NAME" or
            "torchvision:NAME".
        seed: The random seed of the splits, which are those of a run with this seed.
        group_by: Keep images of one group in one split: a column, a key, or a regular expression
            over paths.
        skip_bad_images: Skip and count images that cannot be read. Otherwise the first one is an
            error.
        settings: Further keys of docs/configuration.md by dotted key, such as
            {"data.image_size": 64} in px.

    Returns:
        Sizes, classes and problems, and the search spaces that the images are large enough for.

    Raises:
        InputError: The source does not exist or is damaged, or an argument is wrong.

    Example:
        >>> phinas.audit("digits").dataset.images
        {'train': 1150, 'validation': 288, 'test': 359}
    """
    values = {
        "data.source": data,
        "data.group_by": group_by,
        "data.skip_bad_images": skip_bad_images,
        "run.seed": seed,
    }
    names = {key: key.rpartition(".")[2] for key in values} | {"data.source": "data"}
    values |= settings or {}
    return audit_config(build_config(None, (), values, use_quick_config=False, names=names))


def audit_config(config: Config) -> AuditResult:
    """Audit the images of a configuration, which must have some."""
    from phinas.training.data.audit_problems import list_problems
    from phinas.training.data.dataset_audit import audit_dataset
    from phinas.training.data.prepared_dataset import prepare

    if config.data is None:
        raise InputError("data.source: is missing; name the images")
    with tempfile.TemporaryDirectory(prefix="phinas-audit-") as directory:
        data = prepare(config.data, seed=config.run.seed, directory=Path(directory))
        dataset = audit_dataset(data)
    resolutions = {name: max(load_space(name).resolutions) for name in SPACES}
    spaces = {
        name: SpaceFit(resolution, resolution <= dataset.image_size)
        for name, resolution in resolutions.items()
    }
    return AuditResult(dataset, tuple(list_problems(dataset)), spaces)


def as_text(result: AuditResult, *, width: int | None = None) -> str:
    """Sizes, classes, problems, and the search spaces that fit.

    Args:
        width: Characters of a line of the tables; None: unlimited.
    """
    dataset = result.dataset
    splits = ", ".join(f"{count:,} {split}" for split, count in dataset.images.items())
    problems = [f"problem: {problem}" for problem in result.problems]
    lines = [
        f"{dataset.name}: {splits}; {dataset.image_size} x {dataset.image_size} px, "
        f"{pluralize(dataset.channels, 'channel')}; "
        f"{pluralize(len(dataset.classes), 'class', 'classes')}",
        *_class_table(dataset, width=width),
        *_group_line(dataset),
        _difference_line(dataset),
        *_space_lines(result),
        *(problems or ["no problems found"]),
    ]
    return "\n".join(lines)


def _class_table(dataset: "DatasetAudit", *, width: int | None) -> list[str]:
    """The classes by size; of more than twelve the largest and the smallest."""
    classes = sorted(dataset.classes, key=lambda row: (-row.train, row.name))
    rows = [[row.name, f"{row.train:,}", f"{row.validation:,}", f"{row.test:,}"] for row in classes]
    if len(rows) > _MAX_CLASSES:
        half = _MAX_CLASSES // 2
        rows[half:-half] = [[f"... {len(rows) - 2 * half} more", "", "", ""]]
    columns = [Column("class", "left"), *map(Column, ("train", "validation", "test"))]
    return format_table(columns, rows, width=width)


def _group_line(dataset: "DatasetAudit") -> list[str]:
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.groups.items())
    return [f"groups: {counts}"] if counts else []


def _difference_line(dataset: "DatasetAudit") -> str:
    points = 100 * dataset.min_detectable_difference
    condition = "; more where errors within a group are not independent" if dataset.groups else ""
    return (
        "smallest accuracy difference that the test split can detect near 80%: "
        f"{points:.1f} points (95%, independent errors{condition})"
    )


def _space_lines(result: AuditResult) -> list[str]:
    """The search spaces whose networks the images are large enough for, and the others."""
    fitting = [f"{name} ({fit.resolution})" for name, fit in result.spaces.items() if fit.fits]
    larger = [f"{name} ({fit.resolution})" for name, fit in result.spaces.items() if not fit.fits]
    lines = [
        f"search spaces with resolutions up to {result.dataset.image_size} px: "
        f"{', '.join(fitting) or 'none'}"
    ]
    if larger:
        lines.append(
            f"with a larger resolution (use --resolution or --upsample): {', '.join(larger)}"
        )
    return lines
