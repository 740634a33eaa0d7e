"""What a data set holds, and what is wrong with it, before anything is trained on it.

Images are compared pixel by pixel as they are stored: copies that were compressed or cropped anew
are not found.
"""

import hashlib
import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from phinas.experiment.measurement import wilson_interval
from phinas.training.data.prepared_dataset import ARRAYS, PreparedData

FEW = 20  # training images of a class: less is hardly learned by any network
_USUAL = 0.8  # accuracy at which the resolution of the test split is told
_NAMED = 5


@dataclass(frozen=True, slots=True)
class ClassCount:
    """Images of a class in each split."""

    name: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Census:
    """classes: in their order; imbalance: images of the largest over those of the smallest class,
    in training;
    copies: images beyond the first of each in one and the same split; leaks: distinct images that
    are in more than one split;
    conflicts: distinct images that occur with more than one label, each as the names of its
    classes; told_apart: the least difference of two accuracies near 80% that the test split can
    tell from none (95%, a fraction); groups: in each split, empty without data.group_by;
    shared_groups: those of the official test split that are trained or validated on."""

    name: str
    images: dict[str, int]
    channels: int
    side: int
    classes: tuple[ClassCount, ...]
    imbalance: float
    copies: int
    leaks: int
    conflicts: tuple[tuple[str, ...], ...]
    skipped: tuple[str, ...]
    told_apart: float
    groups: dict[str, int]
    shared_groups: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with `problems` in words."""
        facts = asdict(self) | {
            "conflicts": [list(names) for names in self.conflicts],
            "skipped": list(self.skipped),
        }
        facts["shared_groups"] = list(self.shared_groups)
        return facts | {
            "classes": [asdict(each) for each in self.classes],
            "problems": self.problems(),
        }

    def problems(self) -> list[str]:
        """What makes accuracies worth less, the worst first; each with its remedy."""
        found = []
        if self.leaks:
            leaks = _images(self.leaks, "is", "are")
            found.append(
                f"{leaks} in more than one split: accuracies on them are too high; remove the "
                "copies"
            )
        if self.shared_groups:
            shared = (
                "one group of the test split is"
                if len(self.shared_groups) == 1
                else f"{len(self.shared_groups):,} groups of the test split are"
            )
            named = ", ".join(self.shared_groups[:_NAMED]) + (
                ", ..." if len(self.shared_groups) > _NAMED else ""
            )
            found.append(
                f"{shared} trained on, too: {named}; accuracies on them are too high, remove "
                "their images from one side"
            )
        if self.conflicts:
            pairs = Counter(" and ".join(names) for names in self.conflicts).most_common(_NAMED)
            told = ", ".join(f"{pair} ({count})" for pair, count in pairs)
            found.append(
                f"{_images(len(self.conflicts), 'has', 'have')} more than one label: {told}; mend "
                "the labels"
            )
        few = [each for each in self.classes if each.train < FEW]
        if few:
            names = ", ".join(
                f"{each.name} ({each.train})"
                for each in sorted(few, key=lambda each: each.train)[:_NAMED]
            )
            rest = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
            found.append(
                f"fewer than {FEW} training images in {names}{rest}; add some, or join classes"
            )
        if self.imbalance >= 10:
            found.append(
                f"the largest class has {self.imbalance:.0f} times the images of the smallest: "
                "accuracy says little of the "
                "small ones; look at classes one by one"
            )
        if self.copies:
            found.append(
                f"{self.copies:,} copies of other images in the same split; harmless, but they "
                "count twice"
            )
        if self.skipped:
            skipped = _images(len(self.skipped), "is", "are")
            found.append(f"{skipped} unreadable and left out: {'; '.join(self.skipped[:_NAMED])}")
        return found


def take_census(data: PreparedData) -> Census:
    """Reads all three splits of prepared data; nothing is chosen by what the test split holds."""
    names = data.classes
    labels = {
        split: np.load(data.directory / paths[1], allow_pickle=False)
        for split, paths in ARRAYS.items()
    }
    counts = {split: np.bincount(found, minlength=len(names)) for split, found in labels.items()}
    where: dict[bytes, Counter[str]] = defaultdict(Counter)
    called: dict[bytes, set[int]] = defaultdict(set)
    for split, paths in ARRAYS.items():
        pixels = np.load(data.directory / paths[0], mmap_mode="r", allow_pickle=False)
        for image, label in zip(pixels, labels[split], strict=True):
            digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            where[digest][split] += 1
            called[digest].add(int(label))
    classes = tuple(
        ClassCount(name, *(int(counts[split][place]) for split in ARRAYS))
        for place, name in enumerate(names)
    )
    return Census(
        name=data.name,
        images={split: len(found) for split, found in labels.items()},
        channels=data.channels,
        side=data.side,
        classes=classes,
        imbalance=float(counts["train"].max() / max(1, counts["train"].min())),
        copies=sum(count - 1 for found in where.values() for count in found.values()),
        leaks=sum(len(found) > 1 for found in where.values()),
        conflicts=tuple(
            tuple(names[place] for place in sorted(found))
            for found in called.values()
            if len(found) > 1
        ),
        skipped=data.skipped,
        told_apart=_told_apart(len(labels["test"])),
        groups=dict(zip(ARRAYS, data.groups, strict=False)),
        shared_groups=data.shared_groups,
    )


def _told_apart(images: int) -> float:
    """Of two networks that err independently; less where they err on the same images."""
    low, high = wilson_interval(_USUAL, images)
    return math.sqrt(2) * (high - low) / 2


def _images(count: int, verb: str, verbs: str) -> str:
    return f"one image {verb}" if count == 1 else f"{count:,} images {verbs}"
