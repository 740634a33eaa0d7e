"""The audit of a data set before training: sizes, classes, copies, damage and irregular images.

Nothing is written, and nothing is chosen by the test split. Copies are images with equal pixels as
they are stored. Copies that were compressed or cropped in another way are found as near-duplicates
(`phinas.training.data.audit.image_quality`), which are a hint.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import numpy as np
from pydantic import Field

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.artifacts.manifest import Count, DuplicateCounts
from phinas.experiment.schema.config import DataSection
from phinas.experiment.statistics.intervals import min_detectable_difference
from phinas.training.data.audit.audited_images import AuditedImages
from phinas.training.data.audit.file_survey import FileSurvey, survey_arrays, survey_files
from phinas.training.data.audit.findings import FileFinding, list_findings
from phinas.training.data.audit.image_quality import MIN_IMAGE_SIZE, ImageQuality, examine_images
from phinas.training.data.audit.image_sizes import SizeSummary, summarize_sizes
from phinas.training.data.audit.near_duplicates import NearDuplicateCounts, count_near_duplicates
from phinas.training.data.audit.suggested_groups import MixedGroup, find_mixed, suggest_pattern
from phinas.training.data.dataset_splits import SPLITS, split_dataset
from phinas.training.data.image_dataset import ProgressCallback, load_images
from phinas.training.data.source_dataset import SourceSplit

_REFERENCE_ACCURACY = 0.8  # where the smallest detectable difference is computed
# Shows the progress of a stage with this title.
ProgressStage = Callable[[str], AbstractContextManager[ProgressCallback]]


class ClassCount(Record):
    """The number of images of a class in each split."""

    name: str
    train: Count
    validation: Count
    test: Count


class DatasetAudit(Record):
    """What a data set holds."""

    name: str = Field(description="Name of the data set")
    images: dict[str, int] = Field(description="Number of images in each split")
    channels: Count = Field(description="Channels of an image")
    image_size: Count = Field(description="Height and width of the stored images in px")
    native_size: Count = Field(description="Median size of the images before they were resized")
    sizes: SizeSummary | None = Field(description="Sizes of the files; null for arrays")
    classes: tuple[ClassCount, ...] = Field(description="The classes, in the order of the labels")
    imbalance: float = Field(
        description="Training images of the largest class over those of the smallest"
    )
    duplicates: DuplicateCounts
    label_conflicts: tuple[tuple[str, ...], ...] = Field(
        description="For each distinct image with more than one label the names of its classes"
    )
    near_duplicates: NearDuplicateCounts | None = Field(
        description="Images that look alike; null where they were not looked for"
    )
    quality: dict[str, int] = Field(
        description="Number of dark, bright, blurred and nearly uniform images; empty where they "
        "were not looked for"
    )
    surplus_files: Count = Field(description="Files with bytes after the end of the image")
    skipped_images: tuple[str, ...] = Field(
        description="Unreadable images that were skipped, each with the reason"
    )
    notes: tuple[str, ...] = Field(
        description="What the user should know of how the source was read, one line each"
    )
    min_detectable_difference: float = Field(
        description="Smallest difference of two accuracies near 80% that the test split can detect "
        "(95%), as a fraction, where the errors are independent"
    )
    groups: dict[str, int] = Field(
        description="Number of groups in each split; empty without data.group_by"
    )
    shared_groups: tuple[str, ...] = Field(
        description="Groups of the official test split that are also in another split"
    )
    mixed_groups: tuple[MixedGroup, ...] = Field(
        description="Groups of a pattern that have images of several classes"
    )
    suggested_group_by: str = Field(
        description="A pattern for data.group_by that the names suggest; empty for none"
    )
    files: tuple[FileFinding, ...] = Field(description="The images of each problem")


def audit_dataset(
    section: DataSection, *, seed: int, near_duplicates: bool, progress: ProgressStage
) -> DatasetAudit:
    """Audit the images of a data source, in the splits of a run with this seed.

    Args:
        section: The source and the splits.
        seed: The random seed of the splits.
        near_duplicates: Also look for near-duplicates and for dark, bright, blurred and nearly
            uniform images.
        progress: Returns the context in which the progress of a stage is shown.

    Raises:
        InputError: The source is wrong, or images cannot be used.
    """
    images = _read_images(section, seed=seed, progress=progress)
    data, splits = images.data, images.splits
    quality: ImageQuality | None = None
    if near_duplicates and images.image_size >= MIN_IMAGE_SIZE:
        with progress("near-duplicates") as report:
            quality = examine_images(images.iter_pixels(), len(images.names), on_progress=report)
    labels = {name: split.labels for name, split in splits.items()}
    counts = {
        name: np.bincount(array, minlength=len(data.classes)) for name, array in labels.items()
    }
    groups = {
        name: set() if split.groups is None else set(split.groups.tolist())
        for name, split in splits.items()
    }
    shared_groups = (groups["train"] | groups["validation"]) & groups["test"]
    return DatasetAudit(
        name=data.name,
        images={name: len(split) for name, split in splits.items()},
        channels=images.channels,
        image_size=images.image_size,
        native_size=data.native_size,
        sizes=summarize_sizes(images.sizes, resize_mode=section.resize_mode),
        classes=tuple(
            ClassCount(name=name, **{split: int(counts[split][index]) for split in SPLITS})
            for index, name in enumerate(data.classes)
        ),
        imbalance=float(counts["train"].max() / max(1, counts["train"].min())),
        duplicates=images.duplicates,
        label_conflicts=images.label_conflicts(),
        near_duplicates=None if quality is None else count_near_duplicates(images, quality),
        quality={}
        if quality is None
        else {issue: int(flags.sum()) for issue, flags in quality.issues.items()},
        surplus_files=len(images.damages),
        skipped_images=tuple(map(str, data.skipped_images)),
        notes=images.notes,
        min_detectable_difference=min_detectable_difference(
            _REFERENCE_ACCURACY, len(labels["test"])
        ),
        groups={name: len(names) for name, names in groups.items()}
        if data.train.groups is not None
        else {},
        shared_groups=tuple(sorted(shared_groups)),
        mixed_groups=find_mixed(images, section),
        suggested_group_by=suggest_pattern(images, section, quality),
        files=tuple(list_findings(images, quality, resize_mode=section.resize_mode)),
    )


def _read_images(section: DataSection, *, seed: int, progress: ProgressStage) -> AuditedImages:
    """Survey the files, decode the images and split them."""
    surveys: dict[str, FileSurvey] = {}
    with ExitStack() as decoding:
        report: ProgressCallback | None = None

        def survey_splits(splits: dict[str, SourceSplit]) -> None:
            total, num_before = sum(map(len, splits.values())), 0
            with progress("files") as report_files:
                for name, split in splits.items():
                    surveys[name] = survey_files(
                        split, on_progress=partial(_report_sum, report_files, num_before, total)
                    )
                    num_before += len(split)

        def report_decoded(done: int, total: int) -> None:
            nonlocal report
            if report is None:  # Two stages must not be shown at a time.
                report = decoding.enter_context(progress("images"))
            report(done, total)

        data = load_images(section, on_progress=report_decoded, inspect=survey_splits)
    parts = split_dataset(data, section, seed=seed)
    for name in SPLITS:
        source = getattr(data, name)
        if source is not None and name not in surveys:
            surveys[name] = survey_arrays(len(source), split=name)
        if source is not None and source.rows is not None:
            surveys[name] = surveys[name].take(source.rows)
    return AuditedImages.from_splits(data, parts, surveys)


def _report_sum(report: ProgressCallback, num_before: int, total: int, count: int) -> None:
    report(num_before + count, total)
