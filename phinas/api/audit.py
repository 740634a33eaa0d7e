"""`phinas audit`: a data set, its problems, and the search spaces that its images suit."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.csv_text import make_csv_text
from phinas.experiment.errors import InputError
from phinas.experiment.output_file import check_output_file
from phinas.experiment.run_dir import write_atomic
from phinas.experiment.schema.config import Config
from phinas.options.config_building import build_config
from phinas.reports.formatting import pluralize
from phinas.reports.sentences.duplicates import describe_dropped
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import SpecError
from phinas.terminal.progress import Display
from phinas.terminal.text_table import Column, format_table

if TYPE_CHECKING:
    from phinas.training.data.audit.dataset_audit import DatasetAudit
    from phinas.training.data.image_dataset import ProgressCallback

_MAX_CLASSES = 12


@dataclass(frozen=True)
class SpaceFit:
    """Whether the images are large enough for a search space.

    Attributes:
        resolution: The largest resolution of its networks in px.
        fits: Whether the images have at least this size.
        usable: Whether its networks can be built for the size of the images.
    """

    resolution: int
    fits: bool
    usable: bool


@dataclass(frozen=True)
class AuditResult:
    """The audit of a data set.

    Attributes:
        dataset: Sizes, classes, copies, wrong labels, and the files with a problem.
        problems: What makes scores on it worth less, each with its remedy, the worst first.
        hints: What a look at the images may be worth, such as near-duplicates.
        spaces: For each search space that phinas ships whether the images are large enough.
    """

    dataset: "DatasetAudit"
    problems: tuple[str, ...]
    hints: tuple[str, ...]
    spaces: dict[str, SpaceFit]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        spaces = {
            name: {
                "resolution": space.resolution,
                "fits": space.fits,
                "usable": space.usable,
            }
            for name, space in self.spaces.items()
        }
        return self.dataset.to_dict() | {
            "problems": list(self.problems),
            "hints": list(self.hints),
            "spaces": spaces,
        }

    def write_csv(self, path: str | Path) -> None:
        """Write the files with a problem, one a row: problem, split, file, label, set, note.

        Args:
            path: The file, which is overwritten.

        Raises:
            InputError: It cannot be written.
        """
        from phinas.training.data.audit.findings import FileFinding

        target = Path(path)
        check_csv_path(target)
        rows = (row.to_dict().values() for row in self.dataset.files)
        text = make_csv_text(list(FileFinding.model_fields), rows)
        try:
            write_atomic(target, text)
        except OSError as error:
            raise InputError(
                f"--csv: {target} cannot be written ({error.strerror or error}); use another file"
            ) from None


def check_csv_path(path: Path) -> None:
    """Check that a file can be written, before the work that leads to it.

    Raises:
        InputError: It is a folder, or its folder does not exist or is not writable.
    """
    if path.is_dir():
        raise InputError(f"--csv: {path} is a folder; name a file, such as {path / 'audit.csv'}")
    if not path.parent.is_dir():
        raise InputError(f"--csv: the folder {path.parent} does not exist; create it")
    check_output_file(path, option="--csv")


def audit(
    data: str | Path,
    *,
    seed: int = 0,
    group_by: str | None = None,
    drop_duplicates: bool = False,
    skip_bad_images: bool = False,
    near_duplicates: bool = True,
    quiet: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> AuditResult:
    """Audit the images of a data set. All of them are read; nothing is written.

    Args:
        data: "digits", a path (class folders, Parquet files or an .npz file), "hf:NAME" or
            "torchvision:NAME".
        seed: The random seed of the splits, which are those of a run with this seed.
        group_by: Keep images of one group in one split: a column, a key, or a regular expression
            over paths.
        drop_duplicates: Leave out training images that are copies of other images.
        skip_bad_images: Skip and count images that cannot be read. Otherwise the first one is an
            error.
        near_duplicates: Also look for images that look alike, and for dark, bright, blurred and
            nearly uniform images. Images below 32 px are not examined.
        quiet: Show no progress.
        settings: Further keys of docs/configuration.md by dotted key, such as
            {"data.image_size": 64} in px.

    Returns:
        Sizes, classes and problems, the files of each problem, and the search spaces that the
        images are large enough for.

    Raises:
        InputError: The source does not exist or is damaged, or an argument is wrong.

    Examples:
        >>> phinas.audit("digits").dataset.images
        {'train': 1150, 'validation': 288, 'test': 359}
    """
    values = {
        "data.source": str(data),
        "data.group_by": group_by,
        "data.drop_duplicates": drop_duplicates,
        "data.skip_bad_images": skip_bad_images,
        "run.seed": seed,
    }
    names = {key: key.rpartition(".")[2] for key in values} | {"data.source": "data"}
    values |= settings or {}
    config = build_config(None, (), values, use_quick_config=False, names=names)
    return audit_config(config, near_duplicates=near_duplicates, quiet=quiet)


def audit_config(
    config: Config, *, near_duplicates: bool = True, quiet: bool = False
) -> AuditResult:
    """Audit the images of a configuration, which must have some."""
    from phinas.description.dataset_problems import list_hints, list_problems
    from phinas.training.data.audit.dataset_audit import audit_dataset

    if config.data is None:
        raise InputError("data.source: is missing; name the images")
    display = Display(quiet=quiet)

    @contextmanager
    def show_progress(title: str) -> "Iterator[ProgressCallback]":
        with display.stage(title, unit="images") as report:
            yield lambda done, total: report(done, total, "")

    dataset = audit_dataset(
        config.data,
        seed=config.run.seed,
        near_duplicates=near_duplicates,
        progress=show_progress,
    )
    spaces = {name: fit_space(load_space(name), dataset.image_size) for name in SPACES}
    return AuditResult(dataset, tuple(list_problems(dataset)), tuple(list_hints(dataset)), spaces)


def fit_space(space: SearchSpace, image_size: int) -> SpaceFit:
    """Whether images of this size, in px, are large enough for a search space."""
    resolution = max(space.resolutions)
    usable = True
    try:
        space.base.adapt(resolution=min(resolution, image_size))
    except SpecError:
        usable = False
    return SpaceFit(resolution, resolution <= image_size, usable)


def as_text(result: AuditResult, *, width: int | None = None) -> str:
    """Sizes, classes, problems, and the search spaces that fit.

    Args:
        width: Characters of a line of the tables; None: unlimited.
    """
    dataset = result.dataset
    splits = ", ".join(f"{count:,} {split}" for split, count in dataset.images.items())
    problems = [f"problem: {problem}" for problem in result.problems]
    dropped = describe_dropped(dataset.duplicates)
    lines = [
        f"{dataset.name}: {splits}; {dataset.image_size} x {dataset.image_size} px, "
        f"{pluralize(dataset.channels, 'channel')}; "
        f"{pluralize(len(dataset.classes), 'class', 'classes')}",
        *_size_line(dataset),
        *dataset.notes,
        *([dropped] if dropped else []),
        *_class_table(dataset, width=width),
        *_group_line(dataset),
        _difference_line(dataset),
        *_space_lines(result),
        *(problems or ["no problems found"]),
        *_examination_line(dataset),
        *(f"hint: {hint}" for hint in result.hints),
        *_file_line(dataset),
    ]
    return "\n".join(lines)


def _size_line(dataset: "DatasetAudit") -> list[str]:
    sizes = dataset.sizes
    if sizes is None or sizes.smallest == sizes.largest == dataset.image_size:
        return []
    return [
        f"shorter edges of the files: {sizes.smallest} to {sizes.largest} px, "
        f"{sizes.median} px in the median"
    ]


def _examination_line(dataset: "DatasetAudit") -> list[str]:
    """A line where images were not examined, so that no hint does not mean that all is well."""
    if dataset.near_duplicates is not None:
        return []
    return [
        "not looked for (off, or images below 32 px): near-duplicates, and dark, bright, blurred "
        "or nearly uniform images"
    ]


def _file_line(dataset: "DatasetAudit") -> list[str]:
    if not dataset.files:
        return []
    counts = Counter(row.problem for row in dataset.files)
    named = ", ".join(f"{problem} ({count:,})" for problem, count in counts.items())
    return [f"files that --csv FILE and --json list: {named}"]


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
    """The search spaces that fit, those that the image size limits, and those too large for it."""
    image_size = result.dataset.image_size

    def list_spaces(*, fits: bool, usable: bool) -> str:
        return ", ".join(
            f"{name} ({space.resolution} px)"
            for name, space in result.spaces.items()
            if (space.fits, space.usable) == (fits, usable)
        )

    fitting = list_spaces(fits=True, usable=True)
    limited = list_spaces(fits=False, usable=True)
    too_large = list_spaces(fits=False, usable=False)
    lines = [f"search spaces for these images (--space): {fitting}"] if fitting else []
    if limited:
        lines.append(
            f"made for larger images, used at {image_size} px, or at their own resolution with "
            f"--upsample: {limited}"
        )
    if too_large:
        lines.append(f"only with --upsample: {too_large}")
    if any(space.fits and space.resolution == image_size for space in result.spaces.values()):
        smaller = max(1, image_size * 3 // 4 // 4) * 4
        lines.append(
            f"networks of {image_size} px leave no room to scale the resolution; --resolution "
            f"{smaller} or --upsample makes some"
        )
    return lines
