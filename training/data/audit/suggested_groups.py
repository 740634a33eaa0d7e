"""`data.group_by`: a pattern that the names suggest, and groups that look like a mistake."""

from pathlib import Path

import numpy as np
from pydantic import Field

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.schema.config import DataSection
from phinas.training.data.audit.audited_images import AuditedImages
from phinas.training.data.audit.group_patterns import (
    find_mixed_groups,
    propose_pattern,
    with_folder,
)
from phinas.training.data.audit.image_quality import ImageQuality
from phinas.training.data.audit.near_duplicates import near_duplicate_sets
from phinas.training.data.sources import SOURCES, find_named_source, find_path_source

_SOURCES_WITH_PATTERNS = ("image_folder", "archive")


class MixedGroup(Record):
    """A group that has images of several classes."""

    name: str
    classes: tuple[str, ...] = Field(description="Names of its classes")


def suggest_pattern(
    images: AuditedImages, section: DataSection, quality: ImageQuality | None
) -> str:
    """A pattern for `data.group_by`; empty where the names show none.

    If it is set and its groups have images of several classes, the pattern with the folder of the
    class is suggested.
    """
    if not _accepts_pattern(section):
        return ""
    if section.group_by is not None:
        return with_folder(section.group_by) if find_mixed(images, section) else ""
    pairs = None
    if quality is not None:
        sets = near_duplicate_sets(images, quality)
        pairs = quality.pairs[sets[quality.pairs[:, 0]] >= 0]
    return propose_pattern(images.names, images.labels, pairs)


def find_mixed(images: AuditedImages, section: DataSection) -> tuple[MixedGroup, ...]:
    """The groups of a pattern that have images of several classes.

    The groups of a column, such as patients, are the user's own, and often have several classes.
    """
    if section.group_by is None or not _accepts_pattern(section):
        return ()
    groups = np.concatenate(
        [split.groups for split in images.splits.values() if split.groups is not None]
    )
    return tuple(
        MixedGroup(name=name, classes=tuple(images.data.classes[index] for index in indices))
        for name, indices in find_mixed_groups(groups, images.labels).items()
    )


def _accepts_pattern(section: DataSection) -> bool:
    """Whether the source takes a regular expression over paths as `data.group_by`."""
    if find_named_source(section.source) is not None:
        return False
    entry = find_path_source(Path(section.source).expanduser())
    return any(entry is SOURCES[name] for name in _SOURCES_WITH_PATTERNS)
