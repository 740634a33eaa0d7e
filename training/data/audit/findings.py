"""The files of each problem that an audit finds: the rows of `phinas audit --csv`."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.schema.run import ResizeMode
from phinas.training.data.audit.audited_images import AuditedImages
from phinas.training.data.audit.image_quality import ImageQuality
from phinas.training.data.audit.image_sizes import find_much_cropped, find_much_smaller
from phinas.training.data.audit.near_duplicates import near_duplicate_sets
from phinas.training.data.dataset_splits import SPLITS

Problem = Literal[
    "leak",  # equal pixels in another split
    "label_conflict",  # equal pixels with another label
    "copy",  # equal pixels in the same split
    "near_duplicate",
    "surplus_bytes",
    "much_smaller",
    "much_cropped",
    "dark",
    "bright",
    "blurred",
    "nearly_uniform",
    "unreadable",
]


class FileFinding(Record):
    """An image with a problem."""

    problem: Problem
    split: str = Field(description="train, validation or test; empty for an unreadable image")
    file: str = Field(description="Name of the image in its source")
    label: str = Field(description="Name of its class; empty for an unreadable image")
    set: int | None = Field(description="Number that copies or near-duplicates of an image share")
    note: str = Field(description="Details")


def list_findings(
    images: AuditedImages, quality: ImageQuality | None, *, resize_mode: ResizeMode
) -> Iterator[FileFinding]:
    """The images of each problem: leaks first, then by problem, set and split."""
    yield from _list_copies(images)
    if quality is not None:
        sets = near_duplicate_sets(images, quality)
        yield from _list_sets(images, "near_duplicate", sets, sets >= 0)
    for index, damage in sorted(images.damages.items()):
        yield _make_finding(images, "surplus_bytes", index, note=damage.description)
    cropped = find_much_cropped(images.sizes, resize_mode=resize_mode)
    for problem, flags in (
        ("much_smaller", find_much_smaller(images.sizes)),
        ("much_cropped", cropped),
    ):
        for index in np.flatnonzero(flags).tolist():
            width, height = images.sizes[index].tolist()
            yield _make_finding(images, problem, index, note=f"{width} x {height} px")
    for issue, flags in ({} if quality is None else quality.issues).items():
        for index in np.flatnonzero(flags).tolist():
            yield _make_finding(images, issue.replace(" ", "_"), index)
    for name, reason in images.data.skipped_images:
        yield FileFinding(
            problem="unreadable", split="", file=name, label="", set=None, note=reason
        )


def _list_copies(images: AuditedImages) -> Iterator[FileFinding]:
    """The images with equal pixels, each in the list of its worst problem."""
    ids, counts = np.unique(images.pixel_ids, return_counts=True)
    repeated = np.isin(images.pixel_ids, ids[counts > 1])
    in_other_split = _varies(images.pixel_ids, images.split_of)
    in_other_class = _varies(images.pixel_ids, images.labels)
    is_leak = repeated & in_other_split
    is_conflict = repeated & in_other_class & ~is_leak
    yield from _list_sets(images, "leak", images.pixel_ids, is_leak)
    yield from _list_sets(images, "label_conflict", images.pixel_ids, is_conflict)
    yield from _list_sets(images, "copy", images.pixel_ids, repeated & ~is_leak & ~is_conflict)


def _varies(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each image whether images with its number have different values."""
    pairs = np.unique(np.stack([ids, values]), axis=1)
    numbers, counts = np.unique(pairs[0], return_counts=True)
    flags: np.ndarray = np.isin(ids, numbers[counts > 1])
    return flags


def _list_sets(
    images: AuditedImages, problem: Problem, sets: np.ndarray, selected: np.ndarray
) -> Iterator[FileFinding]:
    """The selected images by set. The sets are numbered from 1."""
    indices = np.flatnonzero(selected)
    # The order of the first images of the sets.
    numbers, first = np.unique(sets[indices], return_index=True)
    rank = dict(zip(numbers[np.argsort(first)].tolist(), range(1, len(numbers) + 1), strict=True))
    classes_vary = _varies(sets, images.labels)
    for index in sorted(indices.tolist(), key=lambda index: (rank[int(sets[index])], index)):
        note = "labels differ" if classes_vary[index] else ""
        yield _make_finding(images, problem, index, number=rank[int(sets[index])], note=note)


def _make_finding(
    images: AuditedImages, problem: str, index: int, *, number: int | None = None, note: str = ""
) -> FileFinding:
    return FileFinding.model_validate(
        {
            "problem": problem,
            "split": SPLITS[int(images.split_of[index])],
            "file": images.names[index],
            "label": images.data.classes[int(images.labels[index])],
            "set": number,
            "note": note,
        }
    )
