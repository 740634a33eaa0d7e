"""What a data set holds, and what is wrong with it, before anything is trained on it.

Images are compared pixel by pixel as they are stored: copies that were compressed or cropped anew
are not found.
"""

import hashlib
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from phinas.experiment.statistics.intervals import min_detectable_difference
from phinas.training.data.prepared_dataset import ARRAYS, PreparedData

MIN_CLASS_IMAGES = 20  # training images of a class: less is hardly learned by any network
_REFERENCE_ACCURACY = 0.8  # accuracy at which the resolution of the test split is told
_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class ClassCount:
    """Images of a class in each split."""

    name: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class DatasetAudit:
    """classes: in their order; imbalance: images of the largest over those of the smallest class,
    in training;
    duplicates: images beyond the first of each in one and the same split; cross_split_duplicates:
    distinct images that are in more than one split;
    label_conflicts: distinct images that occur with more than one label, each as the names of its
    classes; min_detectable_difference: the least difference of two accuracies near 80% that the
    test split can tell from none (95%, a fraction); groups: in each split, empty without
    data.group_by;
    shared_groups: those of the official test split that are trained or validated on."""

    name: str
    images: dict[str, int]
    channels: int
    image_size: int
    classes: tuple[ClassCount, ...]
    imbalance: float
    duplicates: int
    cross_split_duplicates: int
    label_conflicts: tuple[tuple[str, ...], ...]
    skipped_images: tuple[str, ...]
    min_detectable_difference: float
    groups: dict[str, int]
    shared_groups: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with `problems` in words."""
        plain = asdict(self) | {
            "label_conflicts": [list(names) for names in self.label_conflicts],
            "skipped_images": list(self.skipped_images),
        }
        plain["shared_groups"] = list(self.shared_groups)
        return plain | {
            "classes": [asdict(row) for row in self.classes],
            "problems": self.problems(),
        }

    def problems(self) -> list[str]:
        """What makes accuracies worth less, the worst first; each with its remedy."""
        problems = []
        if self.cross_split_duplicates:
            cross_split_duplicates = _count_images(self.cross_split_duplicates, "is", "are")
            problems.append(
                f"{cross_split_duplicates} in more than one split: accuracies on them are too "
                "high; remove the "
                "copies"
            )
        if self.shared_groups:
            shared = (
                "one group of the test split is"
                if len(self.shared_groups) == 1
                else f"{len(self.shared_groups):,} groups of the test split are"
            )
            names = ", ".join(self.shared_groups[:_MAX_NAMED]) + (
                ", ..." if len(self.shared_groups) > _MAX_NAMED else ""
            )
            problems.append(
                f"{shared} trained on, too: {names}; accuracies on them are too high, remove "
                "their images from one side"
            )
        if self.label_conflicts:
            pairs = Counter(" and ".join(names) for names in self.label_conflicts).most_common(
                _MAX_NAMED
            )
            listed = ", ".join(f"{pair} ({count})" for pair, count in pairs)
            problems.append(
                f"{_count_images(len(self.label_conflicts), 'has', 'have')} more than one label: "
                f"{listed}; mend "
                "the labels"
            )
        rare_classes = [row for row in self.classes if row.train < MIN_CLASS_IMAGES]
        if rare_classes:
            names = ", ".join(
                f"{row.name} ({row.train})"
                for row in sorted(rare_classes, key=lambda row: row.train)[:_MAX_NAMED]
            )
            remainder = (
                f" and {len(rare_classes) - _MAX_NAMED} more"
                if len(rare_classes) > _MAX_NAMED
                else ""
            )
            problems.append(
                f"fewer than {MIN_CLASS_IMAGES} training images in {names}{remainder}; add some, "
                "or join classes"
            )
        if self.imbalance >= 10:
            problems.append(
                f"the largest class has {self.imbalance:.0f} times the images of the smallest: "
                "accuracy says little of the "
                "small ones; look at classes one by one"
            )
        if self.duplicates:
            problems.append(
                f"{self.duplicates:,} copies of other images in the same split; harmless, but they "
                "count twice"
            )
        if self.skipped_images:
            skipped_images = _count_images(len(self.skipped_images), "is", "are")
            problems.append(
                f"{skipped_images} unreadable and left out: "
                f"{'; '.join(self.skipped_images[:_MAX_NAMED])}"
            )
        return problems


def audit_dataset(data: PreparedData) -> DatasetAudit:
    """Reads all three splits of prepared data; nothing is chosen by what the test split holds."""
    names = data.classes
    labels = {
        split: np.load(data.directory / paths[1], allow_pickle=False)
        for split, paths in ARRAYS.items()
    }
    counts = {split: np.bincount(found, minlength=len(names)) for split, found in labels.items()}
    occurrences: dict[bytes, Counter[str]] = defaultdict(Counter)
    labels_of: dict[bytes, set[int]] = defaultdict(set)
    for split, paths in ARRAYS.items():
        pixels = np.load(data.directory / paths[0], mmap_mode="r", allow_pickle=False)
        for image, label in zip(pixels, labels[split], strict=True):
            digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            occurrences[digest][split] += 1
            labels_of[digest].add(int(label))
    classes = tuple(
        ClassCount(name, *(int(counts[split][index]) for split in ARRAYS))
        for index, name in enumerate(names)
    )
    return DatasetAudit(
        name=data.name,
        images={split: len(found) for split, found in labels.items()},
        channels=data.channels,
        image_size=data.image_size,
        classes=classes,
        imbalance=float(counts["train"].max() / max(1, counts["train"].min())),
        duplicates=sum(count - 1 for found in occurrences.values() for count in found.values()),
        cross_split_duplicates=sum(len(found) > 1 for found in occurrences.values()),
        label_conflicts=tuple(
            tuple(names[index] for index in sorted(found))
            for found in labels_of.values()
            if len(found) > 1
        ),
        skipped_images=data.skipped_images,
        min_detectable_difference=_min_detectable_difference(len(labels["test"])),
        groups=dict(zip(ARRAYS, data.groups, strict=False)),
        shared_groups=data.shared_groups,
    )


def _min_detectable_difference(images: int) -> float:
    """Of two networks that err independently; less where they err on the same images."""
    return min_detectable_difference(_REFERENCE_ACCURACY, images)


def _count_images(count: int, verb: str, verbs: str) -> str:
    return f"one image {verb}" if count == 1 else f"{count:,} images {verbs}"
